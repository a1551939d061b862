"""What a policy says of a repository as it stands in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

from registry.lifecycle.policy import parse_policy
from registry.lifecycle.preview import GRACE, Preview, apply_brake, measure_freed
from registry.lifecycle.rules import Policy
from registry.lifecycle.schedule import find_next_due
from registry.lifecycle.selection import select_expired
from registry.lifecycle.verdicts import Outcome
from registry.metadata import images, policies
from registry.metadata.database import Transaction
from registry.metadata.images import StoredImage
from registry.metadata.repositories import Repository


@dataclass(frozen=True, slots=True)
class Terms:
    """The registry's settings for all repositories. With `is_strict` a policy has only ECR's own keys."""

    is_strict: bool
    brake_percent: int
    undelete_days: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A preview with the rows that it was made of, by digest.

    `next_due` is when the policy can have something to do again, by those that stay; `sequence` the last change that
    policies had heard of.
    """

    repository_id: int
    policy: Policy
    preview: Preview
    rows: Mapping[str, StoredImage]
    next_due: int | None
    sequence: int


def make_plan(tx: Transaction, repository: Repository, text: str, now: int, terms: Terms) -> Plan:
    """Raises PolicyInvalid. Of a large repository it takes seconds."""
    policy = parse_policy(text, is_strict=terms.is_strict)
    settings = repository.settings
    rows = {stored.image.digest: stored for stored in images.list_images(tx, repository.id, with_sizes=policy.has_size)}
    verdicts = select_expired(
        policy, (stored.image for stored in rows.values()), now, grace=GRACE, protected=settings.protected
    )
    freed: Mapping[str, int] = {}
    if any(verdict.outcome is Outcome.EXPIRED for verdict in verdicts):
        blobs = {} if policy.has_size else images.list_blobs(tx, repository.id)
        named = {digest: stored.image.blobs or blobs.get(stored.id, ()) for digest, stored in rows.items()}
        freed = measure_freed(verdicts, named, images.list_shared(tx, repository.id))
    undelete_days, percent = settings.undelete_days, settings.brake_percent
    preview = Preview(
        repository=repository.name,
        text=text,
        at=now,
        verdicts=verdicts,
        freed=freed,
        brake=apply_brake(verdicts, terms.brake_percent if percent is None else percent),
        undelete_days=terms.undelete_days if undelete_days is None else undelete_days,
    )
    staying = [verdict.image for verdict in verdicts if verdict.outcome is not Outcome.EXPIRED]
    next_due = find_next_due(policy, staying, now, grace=GRACE)
    return Plan(repository.id, policy, preview, rows, next_due, policies.get_sequence(tx))

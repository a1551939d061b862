"""The steps of a run: made of a plan, taken by compare-and-set, and given back."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from registry.identity import Deed
from registry.lifecycle.images import Image
from registry.lifecycle.rules import CountType, Policy
from registry.lifecycle.verdicts import Outcome
from registry.metadata import manifests, pulls, repositories, tags
from registry.metadata.database import Transaction
from registry.metadata.previews import Plan
from registry.metadata.runs import Step, StepOutcome
from registry.oci.manifest import Kind
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest

_COUNTS_PULLS = {CountType.NOT_PULLED_FOR_DAYS, CountType.REPOSITORY_SIZE_MORE_THAN, CountType.PULLED_WITHIN_DAYS}
Key = tuple[int, str]  # a manifest's id, and the tag that alone is taken from it, if so


@dataclass(frozen=True, slots=True)
class Lost:
    """What of a step could not be given back, and why; `tag` is empty where it is the image."""

    digest: str
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run has seen when the policy said what goes. `planned_at` is when its steps were written."""

    repository_id: int
    repository: RepositoryName
    planned_at: int
    policy: Policy
    taken: Mapping[Key, Image]


def list_steps(plan: Plan) -> list[Step]:
    """Images in the order in which they can go, then the tags that are taken from images that stay."""
    steps: list[Step] = []
    for verdict in plan.preview.verdicts:
        row, digest = plan.rows[verdict.image.digest], verdict.image.digest
        if verdict.outcome is Outcome.EXPIRED:
            size = plan.preview.freed[digest]
            steps.append(Step(len(steps) + 1, row.id, digest, row.tag_ids, True, verdict.rule, verdict.reason, size))
        for tag in verdict.expired_tags:
            taken = {tag.name: row.tag_ids[tag.name]}
            steps.append(Step(len(steps) + 1, row.id, digest, taken, False, tag.rule, tag.reason, 0))
    return steps


def expect(plan: Plan, planned_at: int) -> Expected:
    """What `plan` says now of steps that were planned at an instant, which may be an earlier one."""
    taken = {_key(step): plan.rows[step.digest].image for step in list_steps(plan)}
    return Expected(plan.repository_id, plan.preview.repository, planned_at, plan.policy, taken)


def take(tx: Transaction, step: Step, expected: Expected, deed: Deed) -> StepOutcome:
    """Delete the image, or the tag, if it is still what was planned and nothing holds it."""
    outcome = _judge(tx, step, expected)
    if outcome is not StepOutcome.DONE:
        return outcome
    if step.takes_image:
        stored = manifests.find(tx, expected.repository, Digest.parse(step.digest))
        if stored is None or stored.id != step.manifest_id:
            return StepOutcome.CHANGED
        manifests.mark_deleted(tx, expected.repository_id, stored, deed)
    else:
        for tag in step.tags:
            tags.delete(tx, expected.repository_id, Tag(tag), deed)
    return outcome


def give_back(
    tx: Transaction, repository_id: int, step: Step, deed: Deed, may_lack: Collection[Kind] = ()
) -> list[Lost]:
    """What could not be given back: tags that point elsewhere by now. Raises ManifestUnknown."""
    manifest_id = manifests.find_stored(tx, repository_id, step.digest) or step.manifest_id
    if step.takes_image:
        manifests.revive(tx, repository_id, manifest_id, deed, may_lack)
    elif _find_present(tx, manifest_id) is None:
        return [Lost(step.digest, tag, "its manifest was deleted since") for tag in step.tags]
    lost = []
    for name in step.tags:
        current = tags.find_digest(tx, repository_id, Tag(name))
        if current is None:
            tags.restore(tx, repository_id, Tag(name), step.digest, manifest_id, deed)
        elif current != step.digest:
            lost.append(Lost(step.digest, name, f"it points to {current} by now, and stays so"))
    return lost


@dataclass(frozen=True, slots=True)
class _Present:
    pushed_at: int
    subject: str | None


def _key(step: Step) -> Key:
    return step.manifest_id, "" if step.takes_image else next(iter(step.tags))


def _find_present(tx: Transaction, manifest_id: int) -> _Present | None:
    row = tx.one("SELECT pushed_at, subject FROM manifest WHERE id = :id AND deleted_at IS NULL", id=manifest_id)
    return _Present(*row) if row else None


def _judge(tx: Transaction, step: Step, expected: Expected) -> StepOutcome:
    """DONE: it may be taken."""
    image = expected.taken.get(_key(step))
    if image is None:
        return StepOutcome.HELD  # the policy takes it no more
    present = _find_present(tx, step.manifest_id)
    if present is None or not _is_same(tx, step, expected.repository_id):
        return StepOutcome.CHANGED
    if present.pushed_at != image.pushed_at or present.pushed_at > expected.planned_at:
        return StepOutcome.CHANGED
    if _is_pulled(tx, step.manifest_id, image, expected.policy):
        return StepOutcome.CHANGED
    settings = repositories.get_settings(tx, expected.repository_id)
    is_held = any(map(settings.is_protected, step.tags)) or (step.takes_image and _is_held(tx, step, expected, present))
    return StepOutcome.HELD if is_held else StepOutcome.DONE


def _is_same(tx: Transaction, step: Step, repository_id: int) -> bool:
    """Whether its tags are those that were planned. One that was moved away and back has another row."""
    if step.takes_image:
        return dict(tags.list_of(tx, step.manifest_id)) == step.tags
    rows = [  # of the tag alone: an image may have very many
        tx.one(
            "SELECT id FROM tag WHERE repository_id = :id AND name = :name AND valid_to IS NULL",
            id=repository_id,
            name=name,
        )
        for name in step.tags
    ]
    return rows == [(tag_id,) for tag_id in step.tags.values()]


def _is_pulled(tx: Transaction, manifest_id: int, image: Image, policy: Policy) -> bool:
    """Whether it was pushed again since it was looked at, or pulled by one whose pulls count."""
    rows = tx.run("SELECT identity, at FROM pull WHERE manifest_id = :id", id=manifest_id)
    since = [identity for identity, at in rows if at > image.pulls.get(identity, -1)]
    if image.is_newborn or pulls.PUSHED_AGAIN in since:  # who was told of it may be about to push what needs it
        return bool(since)
    counting = [rule.selection for rule in policy.rules if rule.count.kind in _COUNTS_PULLS]
    return any(
        not any(pattern.is_match(identity) for pattern in selection.ignored)
        for identity in since
        for selection in counting
    )


def _is_held(tx: Transaction, step: Step, expected: Expected, present: _Present) -> bool:
    """An index that came meanwhile, or was not taken, keeps it; of a referrer without a tag, its subject."""
    if manifests.list_parents(tx, step.manifest_id):
        return True
    if present.subject is None or present.subject == step.digest or step.tags:
        return False
    return manifests.find(tx, expected.repository, Digest.parse(present.subject)) is not None

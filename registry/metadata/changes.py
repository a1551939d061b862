"""The change log: a row for each change, written in its transaction, and for what was tried and refused."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata.database import Transaction


@dataclass(frozen=True, slots=True)
class Change:
    """`at` in Unix milliseconds; `times` how often it happened. What does not apply is empty."""

    sequence: int
    at: int
    actor: str
    address: str
    request_id: str
    action: str
    repository: str
    digest: str
    tag: str
    subject: str
    detail: str
    times: int


@dataclass(frozen=True, slots=True)
class AccessEvent:
    """A change of who may do what, or what was refused; `times` in a row, of `deed` the first time."""

    deed: Deed
    action: str
    repository: str = ""
    subject: str = ""
    detail: str = ""
    times: int = 1


def append(  # noqa: PLR0913 - what the row has, each under its name
    tx: Transaction,
    deed: Deed,
    action: str,
    repository_id: int,
    *,
    digest: str | None = None,
    tag: str | None = None,
    detail: str = "",
) -> None:
    """`action` is a noun of the spec, a dot and what was done to it: `tag.set`; `detail` is for people."""
    tx.run(
        "INSERT INTO change (at, actor, address, request_id, action, repository_id, repository, digest, tag, detail)"
        " SELECT :at, :actor, :address, :request_id, :action, id, name, :digest, :tag, :detail"
        " FROM repository WHERE id = :id",
        at=deed.at,
        actor=deed.actor.name,
        address=deed.actor.address,
        request_id=deed.actor.request_id,
        action=action,
        id=repository_id,
        digest=digest,
        tag=tag,
        detail=detail,
    )


def append_access(tx: Transaction, deed: Deed, action: str, *, subject: str, detail: str = "") -> None:
    """What is about no repository: `subject` names the identity or the key that it was done to."""
    append_event(tx, AccessEvent(deed, action, subject=subject, detail=detail))


def append_event(tx: Transaction, event: AccessEvent) -> None:
    tx.run(
        "INSERT INTO change (at, actor, address, request_id, action, repository, subject, detail, times)"
        " VALUES (:at, :actor, :address, :request_id, :action, :repository, :subject, :detail, :times)",
        at=event.deed.at,
        actor=event.deed.actor.name,
        address=event.deed.actor.address,
        request_id=event.deed.actor.request_id,
        action=event.action,
        repository=event.repository,
        subject=event.subject,
        detail=event.detail,
        times=event.times,
    )


def list_after(tx: Transaction, sequence: int, since: int, limit: int) -> list[Change]:
    """Changes after a sequence number and not before `since` (Unix milliseconds), in their order."""
    rows = tx.run(
        "SELECT sequence, at, actor, address, request_id, action, repository, coalesce(digest, ''),"
        " coalesce(tag, ''), subject, detail, times FROM change"
        " WHERE sequence > :sequence AND at >= :since ORDER BY sequence LIMIT :limit",
        sequence=sequence,
        since=since,
        limit=limit,
    )
    return [Change(*row) for row in rows]


def get_last(tx: Transaction) -> int:
    """The sequence number of the last change, 0 when there is none."""
    return int(tx.only("SELECT coalesce(max(sequence), 0) FROM change")[0])

"""The change log: one row for each change that a client can see, written in the same transaction."""

from registry.identity import Deed
from registry.metadata.database import Transaction


def append(
    tx: Transaction, deed: Deed, action: str, repository_id: int, *, digest: str | None = None, tag: str | None = None
) -> None:
    """`action` is a noun of the spec, a dot and what was done to it: `tag.set`."""
    tx.run(
        "INSERT INTO change (at, actor, address, request_id, action, repository_id, repository, digest, tag)"
        " SELECT :at, :actor, :address, :request_id, :action, id, name, :digest, :tag FROM repository WHERE id = :id",
        at=deed.at,
        actor=deed.actor.name,
        address=deed.actor.address,
        request_id=deed.actor.request_id,
        action=action,
        id=repository_id,
        digest=digest,
        tag=tag,
    )

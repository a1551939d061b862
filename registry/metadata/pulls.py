"""Rows of pulls: when each identity pulled each manifest last. They are no change, and nobody is told of them."""

from collections.abc import Iterable

from registry.metadata.database import Transaction

PUSHED_AGAIN = "push:again"  # in place of an identity: whoever pushes what is there already uses it


def put(tx: Transaction, pulls: Iterable[tuple[int, str, int]]) -> None:
    """Record pulls, as triples of manifest id, identity and instant (Unix milliseconds); the latest one stays.

    A manifest that is gone has none: it is no error.
    """
    for manifest_id, identity, at in pulls:
        tx.run(
            "INSERT INTO pull (manifest_id, identity, at) SELECT id, :identity, :at FROM manifest WHERE id = :id"
            " ON CONFLICT (manifest_id, identity) DO UPDATE SET at = excluded.at WHERE excluded.at > pull.at",
            id=manifest_id,
            identity=identity,
            at=at,
        )

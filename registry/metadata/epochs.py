"""The epoch of access: raised with every change of identities, grants and keys, asked for by every request."""

from registry.metadata.database import Transaction
from registry.oci.names import RepositoryName


def raise_epoch(tx: Transaction) -> None:
    tx.run("UPDATE registry SET access_epoch = access_epoch + 1")


def get_epoch(tx: Transaction) -> int:
    return int(tx.only("SELECT access_epoch FROM registry")[0])


def find_deletion(tx: Transaction, name: RepositoryName) -> int:
    """When a repository of this name was deleted last, in Unix milliseconds; -1 for never."""
    row = tx.only(
        "SELECT coalesce(max(deleted_at), -1) FROM repository WHERE name = :name AND deleted_at IS NOT NULL",
        name=name.value,
    )
    return int(row[0])

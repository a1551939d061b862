"""The epoch of access: raised with every change of identities, grants and keys, asked for by every request."""

from registry.metadata.database import Transaction


def raise_epoch(tx: Transaction) -> None:
    tx.run("UPDATE registry SET access_epoch = access_epoch + 1")


def get_epoch(tx: Transaction) -> int:
    return int(tx.only("SELECT access_epoch FROM registry")[0])

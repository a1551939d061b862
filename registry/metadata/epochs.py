"""The epoch of access: raised with every change of identities, grants and keys, asked for by every request."""

from registry.metadata.database import Transaction


def raise_epoch(tx: Transaction) -> None:
    tx.run("UPDATE registry SET access_epoch = access_epoch + 1")


def get_epoch(tx: Transaction) -> int:
    return int(tx.only("SELECT access_epoch FROM registry")[0])


class Order:
    """Of readings that do not end in the order in which they began: none undoes what one that began later has brought.

    Not by the epoch: a database that was restored from a backup has an older one, and that is the truth then.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._taken = 0

    def begin(self) -> int:
        """To be called before something is read. Returns the reading's place."""
        self._begun += 1
        return self._begun

    def take(self, place: int) -> bool:
        """Whether what was read is to be used: then it is taken, and to be put in place without an await."""
        if place < self._taken:
            return False
        self._taken = place
        return True

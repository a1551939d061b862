"""What a database lets us do, and what a PostgreSQL says of itself."""

from dataclasses import dataclass

from registry.metadata.database import Transaction

_NUMBERS_PER_VERSION = 10_000  # 180003 is 18.3


@dataclass(frozen=True, slots=True)
class Server:
    """`settings` are those of the server, by the names that it gives them."""

    version: int
    settings: dict[str, str]

    def is_on(self, setting: str) -> bool:
        """Whether a setting is switched on; there are more values than two that do that."""
        return self.settings[setting] not in ("off", "")


def examine(tx: Transaction) -> Server:
    """Only on PostgreSQL."""
    settings = {
        "server_encoding": _shown(tx.only("SHOW server_encoding")),
        "max_connections": _shown(tx.only("SHOW max_connections")),
        "superuser_reserved_connections": _shown(tx.only("SHOW superuser_reserved_connections")),
        "in_hot_standby": _shown(tx.only("SHOW in_hot_standby")),
        "fsync": _shown(tx.only("SHOW fsync")),
        "full_page_writes": _shown(tx.only("SHOW full_page_writes")),
        "synchronous_commit": _shown(tx.only("SHOW synchronous_commit")),
        "data_checksums": _shown(tx.only("SHOW data_checksums")),
    }
    number = int(_shown(tx.only("SHOW server_version_num")))
    return Server(number // _NUMBERS_PER_VERSION, settings)


def try_write(tx: Transaction) -> None:
    """Changes nothing, and fails as a write does: many a database that is full is made read-only by its keeper."""
    tx.run("UPDATE registry SET instance = instance WHERE one = 0")


def _shown(row: tuple[object, ...]) -> str:
    return str(row[0])

"""Rows of the keys that sign the registry's tokens. Every change of them raises the epoch of access."""

from dataclasses import dataclass, field

from registry.metadata import epochs
from registry.metadata.database import Row, Transaction


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key. `retired_at` is None for the one that signs. Instants: Unix milliseconds."""

    kid: str
    private_key: bytes = field(repr=False)
    created_at: int
    retired_at: int | None = None


def list_keys(tx: Transaction) -> list[SigningKey]:
    """All keys, retired ones too: two or three."""
    return [_key(row) for row in tx.run("SELECT kid, private_key, created_at, retired_at FROM signing_key")]


def insert(tx: Transaction, key: SigningKey) -> None:
    tx.run(
        "INSERT INTO signing_key (kid, private_key, created_at) VALUES (:kid, :private_key, :created_at)",
        kid=key.kid,
        private_key=key.private_key,
        created_at=key.created_at,
    )
    epochs.raise_epoch(tx)


def retire_all(tx: Transaction, now: int) -> None:
    """From `now` on they sign nothing."""
    _raise_if_any(tx, tx.run("UPDATE signing_key SET retired_at = :now WHERE retired_at IS NULL RETURNING 1", now=now))


def remove_retired(tx: Transaction, until: int) -> None:
    """Remove the keys that were retired at that instant or before."""
    _raise_if_any(tx, tx.run("DELETE FROM signing_key WHERE retired_at <= :until RETURNING 1", until=until))


def remove_all(tx: Transaction) -> None:
    _raise_if_any(tx, tx.run("DELETE FROM signing_key RETURNING 1"))


def _raise_if_any(tx: Transaction, changed: list[Row]) -> None:
    if changed:
        epochs.raise_epoch(tx)


def _key(row: Row) -> SigningKey:
    kid, private_key, created_at, retired_at = row
    return SigningKey(kid, private_key, created_at, retired_at)

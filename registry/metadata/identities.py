"""Rows of identities: users, robots, groups, trust rules and anonymous. Each change raises the epoch of access."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from registry.identity import Deed
from registry.metadata import changes, epochs
from registry.metadata.database import Row, Transaction


class Kind(StrEnum):
    USER = "user"
    ROBOT = "robot"
    GROUP = "group"
    TRUST = "trust"
    ANONYMOUS = "anonymous"

    @property
    def word(self) -> str:
        """As messages call it."""
        return "trust rule" if self is Kind.TRUST else self.value


@dataclass(frozen=True, slots=True)
class Identity:
    """Instants are Unix milliseconds. `secret` is a hash, `rule` a trust rule's JSON; empty where the kind has none."""

    id: int
    kind: Kind
    name: str
    secret: str = ""
    stamp: int = 0
    is_admin: bool = False
    rule: str = ""
    created_at: int = 0
    created_by: str = ""
    expires_at: int | None = None
    disabled_at: int | None = None
    last_used_at: int | None = None

    @property
    def actor(self) -> str:
        """As the change log names it: no login name has a colon, so no kind can be taken for another."""
        return self.name if self.kind in (Kind.USER, Kind.ANONYMOUS) else f"{self.kind}:{self.name}"

    def is_active(self, now: int) -> bool:
        return self.disabled_at is None and (self.expires_at is None or now < self.expires_at)


_COLUMNS = (
    "id, kind, name, coalesce(secret, ''), stamp, is_admin, coalesce(rule, ''), created_at, created_by, expires_at,"
    " disabled_at, last_used_at"
)


def insert(tx: Transaction, identity: Identity, deed: Deed, detail: str = "") -> Identity | None:
    """The identity with its id; None when the name is taken. `detail` is for the change log."""
    rows = tx.run(
        "INSERT INTO identity (kind, name, secret, is_admin, rule, created_at, created_by, expires_at)"
        " VALUES (:kind, :name, :secret, :is_admin, :rule, :at, :by, :expires_at)"
        " ON CONFLICT (name) DO NOTHING RETURNING id",
        kind=identity.kind.value,
        name=identity.name,
        secret=identity.secret or None,
        is_admin=int(identity.is_admin),
        rule=identity.rule or None,
        at=deed.at,
        by=deed.actor.name,
        expires_at=identity.expires_at,
    )
    if not rows:
        return None
    if identity.kind in (Kind.USER, Kind.ROBOT, Kind.TRUST):
        tx.run("UPDATE registry SET is_guarded = 1")
    _changed(tx, identity, "add", deed, "admin" if identity.is_admin else detail)
    return replace(identity, id=rows[0][0], created_at=deed.at, created_by=deed.actor.name)


def find(tx: Transaction, name: str) -> Identity | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM identity WHERE name = :name", name=name)
    return _identity(row) if row else None


def get(tx: Transaction, identity_id: int) -> Identity | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM identity WHERE id = :id", id=identity_id)
    return _identity(row) if row else None


def list_kind(tx: Transaction, kind: Kind) -> list[Identity]:
    """In the order of names."""
    rows = tx.run(f"SELECT {_COLUMNS} FROM identity WHERE kind = :kind ORDER BY name", kind=kind.value)
    return [_identity(row) for row in rows]


def is_guarded(tx: Transaction) -> bool:
    """Whether someone could log in, now or before: then strangers are no longer everybody."""
    row = tx.one("SELECT is_guarded FROM registry")
    return row is not None and bool(row[0])


def has_admin(tx: Transaction) -> bool:
    """Whether a user with all rights can log in."""
    row = tx.one("SELECT 1 FROM identity WHERE kind = 'user' AND is_admin = 1 AND disabled_at IS NULL LIMIT 1")
    return row is not None


def find_bcrypt_cost(tx: Transaction) -> int:
    """The highest cost of imported hashes, such as 10 of `$2y$10$…`; 0 when there are none."""
    row = tx.only(
        "SELECT coalesce(max(CAST(substr(secret, 5, 2) AS INTEGER)), 0) FROM identity"
        " WHERE kind = 'user' AND substr(secret, 1, 2) = '$2'"
    )
    return int(row[0])


def count_other_admins(tx: Transaction, identity: Identity) -> int:
    """Active users with all rights, without this one."""
    row = tx.only(
        "SELECT count(*) FROM identity WHERE kind = 'user' AND is_admin = 1 AND disabled_at IS NULL AND id <> :id",
        id=identity.id,
    )
    return int(row[0])


def set_secret(tx: Transaction, identity: Identity, secret: str, expires_at: int | None, deed: Deed) -> None:
    """A new secret ends every token that the old one got."""
    tx.run(
        "UPDATE identity SET secret = :secret, expires_at = :expires_at, stamp = stamp + 1 WHERE id = :id",
        id=identity.id,
        secret=secret,
        expires_at=expires_at,
    )
    _changed(tx, identity, "secret", deed)


def replace_hash(tx: Transaction, identity: Identity, secret: str) -> None:
    """Another hash of the same secret: no change, and none when the secret is another one by now."""
    tx.run(
        "UPDATE identity SET secret = :secret WHERE id = :id AND secret = :old",
        id=identity.id,
        secret=secret,
        old=identity.secret,
    )


def set_admin(tx: Transaction, identity: Identity, *, is_admin: bool, deed: Deed) -> None:
    tx.run("UPDATE identity SET is_admin = :is_admin WHERE id = :id", id=identity.id, is_admin=int(is_admin))
    _changed(tx, identity, "promote" if is_admin else "demote", deed)


def set_disabled(tx: Transaction, identity: Identity, *, is_disabled: bool, deed: Deed) -> None:
    """Its tokens end for good: to be enabled again brings none of them back."""
    tx.run(
        "UPDATE identity SET disabled_at = :at, stamp = stamp + 1 WHERE id = :id",
        id=identity.id,
        at=deed.at if is_disabled else None,
    )
    _changed(tx, identity, "disable" if is_disabled else "enable", deed)


def remove(tx: Transaction, identity: Identity, deed: Deed) -> None:
    """Its grants and memberships go with it."""
    tx.run("DELETE FROM identity WHERE id = :id", id=identity.id)
    _changed(tx, identity, "remove", deed)


def note_uses(tx: Transaction, uses: Sequence[tuple[int, int]]) -> None:
    """When identities were used last, as pairs of id and instant. No change: it raises no epoch."""
    for identity_id, at in uses:
        tx.run("UPDATE identity SET last_used_at = :at WHERE id = :id", id=identity_id, at=at)


def add_member(tx: Transaction, group: Identity, user: Identity, deed: Deed) -> None:
    rows = tx.run(
        "INSERT INTO membership (group_id, user_id) VALUES (:group, :user) ON CONFLICT DO NOTHING RETURNING 1",
        group=group.id,
        user=user.id,
    )
    if rows:
        _changed(tx, group, "join", deed, user.name)


def remove_member(tx: Transaction, group: Identity, user: Identity, deed: Deed) -> bool:
    """False when the user is no member."""
    rows = tx.run(
        "DELETE FROM membership WHERE group_id = :group AND user_id = :user RETURNING 1", group=group.id, user=user.id
    )
    if rows:
        _changed(tx, group, "leave", deed, user.name)
    return bool(rows)


def list_members(tx: Transaction, group: Identity) -> list[str]:
    rows = tx.run(
        "SELECT name FROM membership JOIN identity ON identity.id = user_id WHERE group_id = :id",
        id=group.id,
    )
    return sorted(row[0] for row in rows)


def _changed(tx: Transaction, identity: Identity, what: str, deed: Deed, detail: str = "") -> None:
    epochs.raise_epoch(tx)
    changes.append_access(tx, deed, f"{identity.kind}.{what}", subject=identity.name, detail=detail)


def _identity(row: Row) -> Identity:
    identity_id, kind, name, secret, stamp, is_admin, *rest = row
    return Identity(identity_id, Kind(kind), name, secret, stamp, bool(is_admin), *rest)

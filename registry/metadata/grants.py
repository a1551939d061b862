"""Rows of grants. Each change raises the epoch of access."""

from registry.access.globs import RepositoryGlob, TagGlob
from registry.access.grants import Grant, parse_actions
from registry.identity import Deed
from registry.metadata import changes, epochs
from registry.metadata.database import Row, Transaction
from registry.metadata.identities import Identity


def put(tx: Transaction, identity: Identity, grant: Grant, deed: Deed) -> None:
    """In place of the grant for the same pattern of repositories."""
    tx.run(
        "INSERT INTO access_grant (identity_id, repositories, actions, tags)"
        " VALUES (:id, :repositories, :actions, :tags)"
        " ON CONFLICT (identity_id, repositories) DO UPDATE SET actions = excluded.actions, tags = excluded.tags",
        id=identity.id,
        repositories=grant.repositories.text,
        actions=grant.show_actions(),
        tags=grant.show_tags(),
    )
    shown = f"{grant.repositories} {grant.show_actions()} {grant.show_tags()}".rstrip()
    _changed(tx, identity, "grant", shown, deed)


def remove(tx: Transaction, identity: Identity, repositories: RepositoryGlob, deed: Deed) -> bool:
    """False when there is no grant for this pattern."""
    rows = tx.run(
        "DELETE FROM access_grant WHERE identity_id = :id AND repositories = :repositories RETURNING 1",
        id=identity.id,
        repositories=repositories.text,
    )
    if rows:
        _changed(tx, identity, "revoke", repositories.text, deed)
    return bool(rows)


def list_own(tx: Transaction, identity: Identity) -> list[Grant]:
    """The grants of the identity itself, in the order of their patterns."""
    rows = tx.run(
        "SELECT repositories, actions, tags FROM access_grant WHERE identity_id = :id ORDER BY repositories",
        id=identity.id,
    )
    return [_grant(row) for row in rows]


def list_all(tx: Transaction, identity_id: int) -> list[Grant]:
    """The grants of the identity and of its groups."""
    rows = tx.run(
        "SELECT repositories, actions, tags FROM access_grant WHERE identity_id = :id"
        " OR identity_id IN (SELECT group_id FROM membership WHERE user_id = :id)",
        id=identity_id,
    )
    return [_grant(row) for row in rows]


def list_everybodys(tx: Transaction) -> list[Grant]:
    """The grants of callers without credentials, which all others have, too."""
    rows = tx.run(
        "SELECT repositories, actions, tags FROM access_grant JOIN identity ON identity.id = identity_id"
        " WHERE kind = 'anonymous'"
    )
    return [_grant(row) for row in rows]


def _changed(tx: Transaction, identity: Identity, what: str, detail: str, deed: Deed) -> None:
    epochs.raise_epoch(tx)
    changes.append_access(tx, deed, f"{identity.kind}.{what}", subject=identity.name, detail=detail)


def _grant(row: Row) -> Grant:
    repositories, actions, tags = row
    globs = tuple(TagGlob(text) for text in tags.split(",") if text)
    return Grant(RepositoryGlob(repositories), parse_actions(actions), globs)

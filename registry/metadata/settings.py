"""The settings of a repository, and what they forbid: asked in the transaction that would do it, whoever asks."""

from collections.abc import Iterable
from functools import lru_cache

from registry.errors import Denied
from registry.identity import Deed
from registry.lifecycle.settings import RepositorySettings
from registry.metadata import changes
from registry.metadata.database import Transaction


@lru_cache(maxsize=1024)
def load(text: str) -> RepositorySettings:
    """From the JSON of a repository's row; most rows have the same."""
    return RepositorySettings.load(text)


def get(tx: Transaction, repository_id: int) -> RepositorySettings:
    return _get_named(tx, repository_id)[1]


def put(tx: Transaction, repository_id: int, settings: RepositorySettings, deed: Deed) -> None:
    """Store the settings. Nothing happens when they are so already."""
    before = get(tx, repository_id)
    if settings == before:
        return
    # Serializable is not enough: a push that read the settings of before could still move a tag after this has ended.
    tx.alone(briefly=True)
    tx.run("UPDATE repository SET settings = :text WHERE id = :id", text=settings.dump(), id=repository_id)
    if settings.undelete_days != before.undelete_days:
        _hasten_reviews(tx, repository_id, deed.at)
    detail = " ".join(f"{name}={value}" for name, value in settings.describe().items())
    changes.append(tx, deed, "repository.set", repository_id, detail=detail)


def refuse_move(tx: Transaction, repository_id: int, tag: str) -> None:
    """Raises Denied when the tag, which points to something else, is immutable."""
    name, settings = _get_named(tx, repository_id)
    if settings.may_move(tag):
        return
    values = {key: value for key, value in settings.describe().items() if key in {"immutability", "exclude"}}
    unset = "immutability=mutable" + (" exclude=" if settings.excluded else "")
    raise Denied(
        f"the tag {tag} points to something else and is immutable: {name} has {_show(values)}. Push under another"
        f" tag, or let tags move with `entrepot repository set {name} {unset}`",
        detail={"tag": tag, "setting": "immutability"},
    )


def refuse_delete(tx: Transaction, repository_id: int, tags: Iterable[str]) -> None:
    """Raises Denied when one of the tags is protected: then it stays, what it points to, and their repository."""
    name, settings = _get_named(tx, repository_id)
    if not settings.protected:
        return
    protected = next((tag for tag in tags if settings.is_protected(tag)), None)
    if protected is not None:
        shown = _show({"protect": settings.describe()["protect"]})
        raise Denied(
            f"the tag {protected} is protected, with what it points to and its repository: {name} has {shown}."
            f" `entrepot repository set {name} protect=PATTERNS` changes that; an empty protect= protects nothing",
            detail={"tag": protected, "setting": "protect"},
        )


def _get_named(tx: Transaction, repository_id: int) -> tuple[str, RepositorySettings]:
    name, text = tx.only("SELECT name, settings FROM repository WHERE id = :id", id=repository_id)
    return name, load(text)


def _hasten_reviews(tx: Transaction, repository_id: int, now: int) -> None:
    """The collector looks again at what it has postponed to the end of another undelete window."""
    tx.run(
        "UPDATE review SET due_at = :now WHERE kind = 'manifest' AND due_at > :now AND key IN"
        " (SELECT CAST(id AS TEXT) FROM manifest WHERE repository_id = :id AND deleted_at IS NOT NULL)",
        now=now,
        id=repository_id,
    )
    tx.run(
        "UPDATE review SET due_at = :now WHERE kind = 'right' AND due_at > :now AND key > :first AND key < :last",
        now=now,
        first=f"{repository_id}:",
        last=f"{repository_id};",
    )


def _show(values: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())

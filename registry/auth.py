"""Who may do what. As long as there are no users: what callers without credentials may do everywhere."""

from enum import StrEnum

from registry.oci.names import RepositoryName


class Action(StrEnum):
    """What a route does, in the words of the token specification; `ANY` needs no right to anything."""

    ANY = "any"
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"


class AnonymousAccess(StrEnum):
    """PROTECTED, when nothing was decided: everything, but to this machine only; the server refuses to be elsewhere."""

    PROTECTED = "protected"
    NONE = "none"
    PULL = "pull"
    PUSH = "push"


_GRANTED = {
    AnonymousAccess.PROTECTED: frozenset(Action),
    AnonymousAccess.NONE: frozenset[Action](),
    AnonymousAccess.PULL: frozenset({Action.ANY, Action.PULL, Action.CATALOG}),
    AnonymousAccess.PUSH: frozenset({Action.ANY, Action.PULL, Action.CATALOG, Action.PUSH}),
}


def may_mount_from(_source: RepositoryName) -> bool:
    """Whether its pusher may pull from the source of a mount: everywhere, as long as there are no users."""
    return True


def is_allowed(access: AnonymousAccess, action: Action) -> bool:
    return action in _GRANTED[access]

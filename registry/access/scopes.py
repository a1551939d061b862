"""Scopes of the token service: what a client asks for, and what of it is granted (docker's token specification)."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from registry.access.grants import Action, Permission
from registry.errors import NameInvalid
from registry.oci.names import RepositoryName

MOST_SCOPES = 100
_TYPE = re.compile(r"([a-z0-9]+)(?:\([a-z0-9]+\))?", re.ASCII)  # a class in brackets says nothing about rights
_EVERY = "*"  # asks for all that is allowed; it is never granted as such
_CATALOG = ("registry", "catalog", _EVERY)
# The actions of docker's clients, which know no `create`, with what each of them needs.
DOCKER_ACTIONS = {"pull": Action.PULL, "push": Action.PUSH, "delete": Action.DELETE}


@dataclass(frozen=True, slots=True)
class Scopes:
    """`repositories` maps names to docker's actions; `has_catalog`: the list of repositories."""

    repositories: Mapping[str, frozenset[str]]
    has_catalog: bool = False

    def allows(self, repository: RepositoryName, action: Action) -> bool:
        asked = {"create": "push"}.get(action.value, action.value)
        return asked in self.repositories.get(repository.value, ())


def parse_scopes(texts: Iterable[str]) -> Scopes:
    """Scopes as clients write them, several in one text or not. What is none asks for nothing."""
    repositories: dict[str, frozenset[str]] = {}
    has_catalog = False
    for text in [scope for line in texts for scope in line.split(" ") if scope][:MOST_SCOPES]:
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        match = _TYPE.fullmatch(kind)
        asked = frozenset(actions.split(",")) & {*DOCKER_ACTIONS, _EVERY}
        if match and (match[1], name, actions) == _CATALOG:
            has_catalog = True
        elif match and match[1] == "repository" and asked and _is_name(name):
            repositories[name] = repositories.get(name, frozenset()) | asked
    return Scopes(repositories, has_catalog)


def grant_scopes(asked: Scopes, permission: Callable[[RepositoryName], Permission], *, has_catalog: bool) -> Scopes:
    """What is asked for and allowed."""
    granted: dict[str, frozenset[str]] = {}
    for name, actions in asked.repositories.items():
        allowed = permission(RepositoryName(name))
        wanted = DOCKER_ACTIONS if _EVERY in actions else actions
        found = frozenset(action for action in wanted if allowed.allows(DOCKER_ACTIONS[action]))
        if found:
            granted[name] = found
    return Scopes(granted, asked.has_catalog and has_catalog)


def show_scopes(scopes: Scopes) -> list[str]:
    """As a challenge and the answer of an exchange write them."""
    shown = [f"repository:{name}:{show_actions(actions)}" for name, actions in scopes.repositories.items()]
    return [*shown, "registry:catalog:*"] if scopes.has_catalog else shown


def show_actions(actions: Iterable[str]) -> str:
    known = set(actions)
    return ",".join(action for action in DOCKER_ACTIONS if action in known)


def _is_name(text: str) -> bool:
    try:
        RepositoryName.parse(text)
    except NameInvalid:
        return False
    return True

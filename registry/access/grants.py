"""THE decision: which actions a caller's grants allow in a repository, and on which tags."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from registry.access.globs import RepositoryGlob, TagGlob
from registry.oci.names import RepositoryName, Tag


class Action(StrEnum):
    """What a route does. ANY needs no right to anything, CATALOG shows what the caller may pull."""

    ANY = "any"
    CATALOG = "catalog"
    PULL = "pull"
    PUSH = "push"  # new content, and moving tags
    CREATE = "create"  # new content, and tags that are not there yet
    DELETE = "delete"
    ADMIN = "admin"  # everything in the repository


GRANTABLE = (Action.PULL, Action.PUSH, Action.CREATE, Action.DELETE, Action.ADMIN)
_IMPLIED = {
    Action.PUSH: frozenset({Action.PUSH, Action.CREATE}),
    Action.ADMIN: frozenset(GRANTABLE),
}


class ActionsInvalid(Exception):
    """The message says which actions there are."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`tags` limits which tags may be set and deleted; without any, all may."""

    repositories: RepositoryGlob
    actions: frozenset[Action]
    tags: tuple[TagGlob, ...] = ()

    @classmethod
    def parse(cls, repositories: str, actions: str, tags: str = "") -> Self:
        """From the command line's words, lists with commas. Raises PatternInvalid, ActionsInvalid."""
        patterns = tuple(TagGlob.parse(text) for text in _words(tags))
        return cls(RepositoryGlob.parse(repositories), parse_actions(actions), patterns)

    @property
    def allowed(self) -> frozenset[Action]:
        """The actions with those that they imply."""
        return self.actions.union(*(_IMPLIED.get(action, ()) for action in self.actions))

    def covers(self, action: Action, tag: Tag) -> bool:
        return action in self.allowed and (not self.tags or any(glob.matches(tag) for glob in self.tags))

    def show_actions(self) -> str:
        return ",".join(action for action in GRANTABLE if action in self.actions)

    def show_tags(self) -> str:
        return ",".join(glob.text for glob in self.tags)


@dataclass(frozen=True, slots=True)
class Permission:
    """What a caller may do in one repository: the grants that match its name, judged together."""

    grants: tuple[Grant, ...] = ()

    @property
    def is_empty(self) -> bool:
        """The caller may not even know whether the repository exists."""
        return not self.grants

    def allows(self, action: Action) -> bool:
        """Of a push whether any is allowed: what it may do to a tag is asked for each tag."""
        needed = Action.CREATE if action is Action.PUSH else action  # PUSH implies CREATE
        return any(needed in grant.allowed for grant in self.grants)

    def may_create(self, tag: Tag) -> bool:
        """Set a tag that is not there yet."""
        return self._covers(Action.CREATE, tag)

    def may_move(self, tag: Tag) -> bool:
        """Set a tag that points to something else now."""
        return self._covers(Action.PUSH, tag)

    def may_delete(self, tag: Tag) -> bool:
        return self._covers(Action.DELETE, tag)

    @property
    def may_delete_content(self) -> bool:
        """Delete manifests and blobs: not by a grant limited to tags, which would reach what others' tags need."""
        return any(Action.DELETE in grant.allowed and not grant.tags for grant in self.grants)

    def list_tags(self, action: Action) -> list[str]:
        """The patterns of tags that the action is limited to."""
        return sorted({glob.text for grant in self.grants if action in grant.allowed for glob in grant.tags})

    def _covers(self, action: Action, tag: Tag) -> bool:
        return any(grant.covers(action, tag) for grant in self.grants)


EVERYTHING = Grant(RepositoryGlob("**"), frozenset({Action.ADMIN}))


def decide(grants: Iterable[Grant], repository: RepositoryName) -> Permission:
    """The one decision about access: by the repository's name alone, so it says nothing about what exists."""
    return Permission(tuple(grant for grant in grants if grant.repositories.matches(repository)))


def parse_actions(text: str) -> frozenset[Action]:
    """Raises ActionsInvalid."""
    known = {action.value: action for action in GRANTABLE}
    words = _words(text)
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        wrong = f"not {unknown[0]!r}" if unknown else "and at least one"
        raise ActionsInvalid(f"actions are {', '.join(known)}, separated by commas, {wrong}")
    return frozenset(known[word] for word in words)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]

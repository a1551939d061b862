"""Entity tags and the preconditions made of them (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

_ENTITY_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')

EntityTags: TypeAlias = frozenset[str] | Literal["*"]  # `*`: whatever there is


def parse_entity_tags(text: str, *, is_strong: bool = False) -> EntityTags:
    """The list of an If-None-Match, or of an If-Match, which compares strongly: there a weak tag matches nothing.

    What is no entity tag matches nothing either.
    """
    if text.strip() == "*":
        return "*"
    matches = (_ENTITY_TAG.fullmatch(part) for part in text.split(","))
    return frozenset(match[2] for match in matches if match and not (is_strong and match[1]))


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The entity tags of the headers `if_match` and `if_none_match`, None where the request has no such header."""

    if_match: EntityTags | None = None
    if_none_match: EntityTags | None = None

    def hold(self, current: str | None) -> bool:
        """Whether the request may go on, where `current` is the digest that the target has (None: there is none)."""
        return self.allow_match(current) and (self.if_none_match is None or not _match(self.if_none_match, current))

    def allow_match(self, current: str | None) -> bool:
        """Whether If-Match alone lets the request go on."""
        return self.if_match is None or _match(self.if_match, current)


NO_PRECONDITIONS = Preconditions()


def _match(tags: EntityTags, current: str | None) -> bool:
    return current is not None and (tags == "*" or current in tags)

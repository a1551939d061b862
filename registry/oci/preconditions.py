"""Entity tags and the preconditions made of them (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from dataclasses import dataclass
from typing import TypeAlias

_ENTITY_TAG = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')

EntityTags: TypeAlias = frozenset[str] | None  # None is `*`: whatever there is


def parse_entity_tags(text: str) -> EntityTags:
    """The list of an If-Match or If-None-Match; what is no entity tag matches nothing."""
    if text.strip() == "*":
        return None
    return frozenset(match[1] for part in text.split(",") if (match := _ENTITY_TAG.fullmatch(part)))


@dataclass(frozen=True, slots=True)
class Preconditions:
    """`if_match`, `if_none_match`: the headers' entity tags, or False where the request has no such header."""

    if_match: EntityTags | bool = False
    if_none_match: EntityTags | bool = False

    def hold(self, current: str | None) -> bool:
        """Whether the request may go on, where `current` is the digest that the target has (None: there is none)."""
        return self.match(current) and (self.if_none_match is False or not _matches(self.if_none_match, current))

    def match(self, current: str | None) -> bool:
        """Whether If-Match alone lets the request go on."""
        return self.if_match is False or _matches(self.if_match, current)


NO_PRECONDITIONS = Preconditions()


def _matches(tags: EntityTags | bool, current: str | None) -> bool:
    return current is not None and (not isinstance(tags, frozenset) or current in tags)

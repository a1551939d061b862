"""Patterns of repository names, tags and claims: anchored, and `*` never crosses a separator."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from registry.oci.names import RepositoryName, Tag

_LONGEST = 256
_MOST_STARS = 8  # of one pattern, `**` counted once: keeps matching quick
_STARS = re.compile(r"(\*+)")


class PatternInvalid(Exception):
    """The message says what a pattern is."""


@dataclass(frozen=True, slots=True)
class Glob:
    """`*` is any text without a separator, `**` any text; the whole text must match. Made by `parse`."""

    text: str
    separators: ClassVar[str] = "/"
    allowed: ClassVar[re.Pattern[str]] = re.compile(r"[^\x00-\x1f\x7f]+")
    what: ClassVar[str] = "a pattern"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises PatternInvalid."""
        if len(text) > _LONGEST or not cls.allowed.fullmatch(text):
            raise PatternInvalid(f"{cls.what}, not {text[:_LONGEST]!r}")
        stars = _STARS.findall(text)
        if len(stars) > _MOST_STARS or any(len(run) > 2 for run in stars):  # noqa: PLR2004 - `**` has two
            raise PatternInvalid(f"{cls.what} with at most {_MOST_STARS} of * and **, not {text!r}")
        return cls(text)

    def is_match(self, text: str) -> bool:
        return _is_match(self.text, text, self.separators)

    def __str__(self) -> str:
        return self.text


class RepositoryGlob(Glob):
    """`acme/*` is every repository right below acme, `acme/**` also those further down, `**` all."""

    __slots__ = ()
    allowed = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)*", re.ASCII)
    what = "a repository pattern is a repository's name in which * stands for a part and ** for several"

    def matches(self, repository: RepositoryName) -> bool:
        return self.is_match(repository.value)


class TagGlob(Glob):
    __slots__ = ()
    allowed = re.compile(r"[A-Za-z0-9_.*-]+", re.ASCII)
    what = "a tag pattern is a tag in which * stands for any characters"

    def matches(self, tag: Tag) -> bool:
        return self.is_match(tag.value)


class ClaimGlob(Glob):
    """For a claim of an id token: `*` stops at `/` and at `:`, so `repo:acme/*` is never another owner's."""

    __slots__ = ()
    separators = "/:"
    what = "a claim's pattern is text in which * stands for anything without / and :, and ** for anything"


def _is_match(pattern: str, text: str, separators: str) -> bool:
    """Keeps every place that a prefix of the pattern can end at: no text makes it slow, as it would a regex."""
    places = {0}
    for part in _STARS.split(pattern):
        if part == "**":
            places = set(range(min(places), len(text) + 1))
        elif part == "*":
            places = _reach(places, text, separators)
        else:
            places = {place + len(part) for place in places if text.startswith(part, place)}
        if not places:
            return False
    return len(text) in places


def _reach(places: set[int], text: str, separators: str) -> set[int]:
    """From each place to the end of its part, each character looked at once."""
    reached: set[int] = set()
    covered = -1
    for place in sorted(places):
        if place > covered:
            covered = _end_of_part(text, place, separators)
            reached.update(range(place, covered + 1))
    return reached


def _end_of_part(text: str, start: int, separators: str) -> int:
    return min((found for separator in separators if (found := text.find(separator, start)) >= 0), default=len(text))

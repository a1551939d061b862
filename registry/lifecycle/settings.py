"""What is set for one repository: whether tags may move, which are protected, and how careful removal is."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from registry.lifecycle.patterns import Pattern, PatternInvalid

_MOST_UNDELETE_DAYS = 3_650
_MOST_PATTERNS = 50
_WHOLE = 100  # percent
_MOST_DIGITS = 9
_DAY = 24 * 3_600_000  # milliseconds
_IN_NO_TAG = re.compile(r"[^A-Za-z0-9_.*-]")


class SettingInvalid(ValueError):
    """The message names the setting, and what it must be."""


class Immutability(StrEnum):
    """ECR's four modes (`imageTagMutability`): whether a tag that points somewhere may be moved."""

    MUTABLE = "mutable"
    IMMUTABLE = "immutable"
    IMMUTABLE_WITH_EXCLUSION = "immutable_with_exclusion"
    MUTABLE_WITH_EXCLUSION = "mutable_with_exclusion"

    @property
    def has_exclusion(self) -> bool:
        return self in {Immutability.IMMUTABLE_WITH_EXCLUSION, Immutability.MUTABLE_WITH_EXCLUSION}


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """None where the registry's own setting holds.

    `excluded` tags are those to which the mode does not apply. `protected` tags are neither deleted nor expired,
    whoever asks; whether they may be moved is the mode's matter.
    """

    immutability: Immutability = Immutability.MUTABLE
    excluded: tuple[Pattern, ...] = ()
    protected: tuple[Pattern, ...] = ()
    undelete_days: int | None = None
    brake_percent: int | None = None

    @classmethod
    def load(cls, text: str) -> Self:
        """From the JSON of a repository's row."""
        return cls._parse(json.loads(text))

    def dump(self) -> str:
        """JSON of what is set."""
        return json.dumps(self.describe())

    def describe(self) -> dict[str, str]:
        """What is set, in the words of `changed`."""
        settings: dict[str, str] = {}
        if self.immutability is not Immutability.MUTABLE:
            settings["immutability"] = self.immutability
        for name, patterns in (("exclude", self.excluded), ("protect", self.protected)):
            if patterns:
                settings[name] = ",".join(pattern.text for pattern in patterns)
        for name, number in (("undelete_days", self.undelete_days), ("brake_percent", self.brake_percent)):
            if number is not None:
                settings[name] = str(number)
        return settings

    def changed(self, values: Mapping[str, str]) -> Self:
        """With other values for the named settings; an empty one unsets. Raises SettingInvalid."""
        for name in ("exclude", "protect"):
            _refuse_other_characters(name, values.get(name, ""))
        return self._parse(self.describe() | dict(values))

    @classmethod
    def _parse(cls, values: Mapping[str, str]) -> Self:
        """Any characters in patterns: what is stored may be older than their refusal."""
        unknown = [name for name in values if name not in NAMES]
        if unknown:
            near = find_near(unknown[0])
            meant = f"did you mean {near}?" if near else f"there are {', '.join(NAMES)}"
            raise SettingInvalid(f"{unknown[0]} is no setting of a repository: {meant}")
        settings = cls(
            immutability=_parse_mode(values.get("immutability", "")),
            excluded=_parse_patterns("exclude", values.get("exclude", "")),
            protected=_parse_patterns("protect", values.get("protect", "")),
            undelete_days=_parse_number("undelete_days", values.get("undelete_days", ""), 0, _MOST_UNDELETE_DAYS),
            brake_percent=_parse_number("brake_percent", values.get("brake_percent", ""), 1, _WHOLE),
        )
        if settings.immutability.has_exclusion != bool(settings.excluded):
            raise SettingInvalid(
                "exclude=PATTERNS goes with immutability=immutable_with_exclusion or mutable_with_exclusion, and these"
                " go with it"
            )
        return settings

    def may_move(self, tag: str) -> bool:
        """Whether the tag, which points to something, may be pointed to something else."""
        is_excluded = any(pattern.is_match(tag) for pattern in self.excluded)
        if self.immutability in {Immutability.MUTABLE, Immutability.MUTABLE_WITH_EXCLUSION}:
            return not is_excluded
        return is_excluded

    def is_protected(self, tag: str) -> bool:
        return any(pattern.is_match(tag) for pattern in self.protected)

    def end_window(self, deleted_at: int, undelete_days: int) -> int:
        """Until when something can be restored, in Unix milliseconds as `deleted_at`; `undelete_days`: the registry's.

        It is `deleted_at` where nothing can.
        """
        return deleted_at + (undelete_days if self.undelete_days is None else self.undelete_days) * _DAY


NAMES = ("immutability", "exclude", "protect", "undelete_days", "brake_percent")


def find_near(name: str) -> str | None:
    """The setting that somebody who wrote `name` may have meant."""
    return next(iter(difflib.get_close_matches(name, NAMES, 1)), None)


def _refuse_other_characters(name: str, text: str) -> None:
    """A pattern that no tag can match protects nothing, and nobody would notice."""
    for part in text.split(","):
        if found := _IN_NO_TAG.search(part.strip()):
            raise SettingInvalid(
                f"{name} has {found[0]!r} in the pattern {part.strip()[:100]!r}, and no tag can: a pattern is letters,"
                " digits, _ . - and *, which is any text"
            )


def _parse_mode(text: str) -> Immutability:
    try:
        return Immutability(text or Immutability.MUTABLE)
    except ValueError:
        raise SettingInvalid(f"immutability must be one of {', '.join(Immutability)}, not {text!r}") from None


def _parse_patterns(name: str, text: str) -> tuple[Pattern, ...]:
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if len(parts) > _MOST_PATTERNS:
        raise SettingInvalid(f"{name} takes at most {_MOST_PATTERNS} patterns")
    try:
        return tuple(Pattern.parse(part) for part in parts)
    except PatternInvalid as problem:
        raise SettingInvalid(f"{name} must be patterns of tags, separated by commas: {problem}") from None


def _parse_number(name: str, text: str, least: int, most: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and least <= int(text) <= most):
        raise SettingInvalid(f"{name} must be a number from {least} to {most}, not {text!r}")
    return int(text)

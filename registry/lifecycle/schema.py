"""Checks of a policy's JSON, in the words of ECR's own schema validator, which tools and people search for."""

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

_LARGEST = (1 << 31) - 1
_LONGEST_SHOWN = 100  # characters
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),  # before int, of which it is one
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)
NO_SCHEMA = "instance failed to match exactly one schema (matched 0 out of 2)"
UNREADABLE = "Could not map policyString into LifecyclePolicy"


class PolicyInvalid(Exception):
    """The message names the rule, says what is wrong, and in brackets at which key.

    `reason` is what ECR says, `rule` its rulePriority, `key` a path in the rule such as `selection.countNumber`.
    """

    def __init__(self, reason: str, place: str = "", rule: int | None = None, key: str = "") -> None:
        super().__init__((f"{place}: {reason}" if place else reason) + (f" [{key}]" if key else ""))
        self.reason = reason
        self.rule = rule
        self.key = key

    def at(self, position: int, fields: Any) -> Self:
        """The same about a rule: the one at `position`, from 1, with the JSON `fields`."""
        priority = fields.get("rulePriority") if isinstance(fields, dict) else None
        if isinstance(priority, int) and not isinstance(priority, bool):
            return type(self)(self.reason, f"rule {priority}", priority, self.key)
        return type(self)(self.reason, f"rule at position {position}", key=self.key)

    def below(self, key: str) -> Self:
        """The same about what is at `key`."""
        return type(self)(self.reason, key=f"{key}.{self.key}" if self.key else key)


@contextmanager
def below(key: str) -> Iterator[None]:
    """What is refused inside is at `key`, or deeper."""
    try:
        yield
    except PolicyInvalid as problem:
        raise problem.below(key) from None


def check_type(value: Any, allowed: type) -> None:
    """Raises PolicyInvalid."""
    found = _type_name(value)
    expected = next(name for kind, name in _TYPES if kind is allowed)
    if found != expected:
        raise PolicyInvalid(
            f'instance type ({found}) does not match any allowed primitive type (allowed: ["{expected}"])'
        )


def check_keys(fields: Any, allowed: Collection[str], required: Iterable[str]) -> None:
    """Raises PolicyInvalid for what is no object, for unknown keys first, then for missing ones."""
    check_type(fields, dict)
    unknown = sorted(fields.keys() - set(allowed))
    if unknown:
        raise PolicyInvalid(
            f"object instance has properties which are not allowed by the schema: ({_show_names(unknown)})"
        )
    missing = sorted(set(required) - fields.keys())
    if missing:
        raise PolicyInvalid(f"object has missing required properties ({_show_names(missing)})")


def check_one_of(value: Any, possible: Collection[str]) -> None:
    """Raises PolicyInvalid."""
    if not isinstance(value, str) or value not in possible:
        values = json.dumps(list(possible), separators=(",", ":"))
        raise PolicyInvalid(f"instance value ({_show(value)}) not found in enum :(possible values: {values})")


def check_integer(value: Any, minimum: int = 1, maximum: int = _LARGEST) -> int:
    """Raises PolicyInvalid."""
    check_type(value, int)
    number = int(value)
    if number < minimum:
        raise PolicyInvalid(
            f"numeric instance is lower than the required minimum (minimum: {minimum}, found: {number})"
        )
    if number > maximum:
        raise PolicyInvalid(
            f"numeric instance is greater than the required maximum (maximum: {maximum}, found: {number})"
        )
    return number


def check_array(value: Any, most: int | None = None) -> list[Any]:
    """Raises PolicyInvalid for what is no array, or an empty one."""
    check_type(value, list)
    found: list[Any] = value
    if not found:
        raise PolicyInvalid("array is too short: must have at least 1 elements but instance has 0 elements")
    if most is not None and len(found) > most:
        raise PolicyInvalid(
            f"array is too long: must have at most {most} elements but instance has {len(found)} elements"
        )
    return found


def check_texts(value: Any) -> list[str]:
    """An array of strings, none of them empty. Raises PolicyInvalid."""
    texts = check_array(value)
    for text in texts:
        check_type(text, str)
        if not text:
            raise PolicyInvalid('string "" is too short (length: 0, required minimum: 1)')
    return texts


def _type_name(value: Any) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


def _show(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."


def _show_names(names: Iterable[str]) -> str:
    return json.dumps([name[:_LONGEST_SHOWN] for name in names], separators=(",", ":"))

"""A JSON decoder for content that others will decode again: what two readers could read differently is refused."""

import json
from typing import Any, NoReturn

_DEEPEST = 64
_MOST_DIGITS = 19
_MOST_VALUES = 400_000  # in 4 MiB: a document of nothing but brackets would keep the processor for a second


class JSONRefused(ValueError):
    """Not UTF-8, not JSON, or JSON that readers disagree about; the message says which."""


def decode(content: bytes) -> Any:
    """Decode one JSON value. Raises JSONRefused.

    Refused besides bad syntax: a byte order mark, repeated keys, NaN and infinities, numbers too long for 64 bits,
    NUL and lone surrogates in strings, and nesting deeper than 64.
    """
    if content.count(b",") + content.count(b"[") + content.count(b"{") > _MOST_VALUES:
        raise JSONRefused(f"it has more than {_MOST_VALUES} values")
    try:
        value = _DECODER.decode(content.decode("utf-8"))
    except RecursionError:
        raise JSONRefused(f"it is nested deeper than {_DEEPEST}") from None
    except UnicodeDecodeError:
        raise JSONRefused("it is not UTF-8") from None
    except json.JSONDecodeError as problem:
        raise JSONRefused(f"it is not JSON: {problem.msg} at byte {problem.pos}") from None
    _check_depth_and_strings(value, has_escapes=b"\\u" in content)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise JSONRefused("a key stands twice in one object")
    return result


def _integer(text: str) -> int:
    if len(text.removeprefix("-")) > _MOST_DIGITS or text == "-0":
        raise JSONRefused("a number is out of range")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JSONRefused("a number is out of range")
    return value


def _constant(text: str) -> NoReturn:
    raise JSONRefused(f"{text} is not JSON")


def _check_depth_and_strings(value: Any, *, has_escapes: bool) -> None:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        if not level:
            return
        if has_escapes:
            _check_strings(level)
        level = [child for node in level for child in _children(node)]
    if level:
        raise JSONRefused(f"it is nested deeper than {_DEEPEST}")


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [*node.keys(), *node.values()]
    return node if isinstance(node, list) else []


def _check_strings(level: list[Any]) -> None:
    for text in level:
        if isinstance(text, str):
            if "\0" in text:
                raise JSONRefused("a string contains NUL")
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise JSONRefused("a string contains half a surrogate pair") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant, strict=True
)

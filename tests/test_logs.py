"""What a line of the log is: for programs one JSON object in ASCII, whatever somebody has put into it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from registry.logs import Stamp, for_a_program

VALUES = ["text", "\x1b[31m\x9b\u2028é", "\ud800", 'a "quoted" \\ line\n', 1, 0.25, None, True, ["a"], {"b": 1}]


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_lines_for_programs(value: Any) -> None:
    """What was logged is read back, and nothing in the line means anything to a terminal."""
    line = for_a_program(None, "info", {"event": "e", "value": value})
    assert json.loads(line) == {"event": "e", "value": value}
    assert line.isascii()
    assert line.decode().isprintable()


def test_values_that_json_does_not_know() -> None:
    """They are written as Python shows them."""
    assert json.loads(for_a_program(None, "info", {"event": "e", "value": 1j})) == {"event": "e", "value": "1j"}


def test_stamps() -> None:
    """Each has its own instant, in UTC, to the microsecond."""
    instants = [
        1_764_000_000_999_999_999,
        1_764_000_001_000_000_000,
        1_764_000_001_000_042_000,
        1_763_999_999_000_000_000,
    ]
    left = iter(instants)
    stamp = Stamp(lambda: next(left))
    for instant in instants:
        read = datetime.fromisoformat(stamp(None, "info", {})["timestamp"])
        assert read == datetime.fromtimestamp(instant // 10**9, UTC).replace(microsecond=instant // 1000 % 10**6)

"""How sizes and instants are written."""

import pytest

from registry.cli.output import exact_instant, show_count, show_instant, show_size
from registry.cli.printable import show_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (2 << 40, "2.0 TiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes_have_binary_units(size: int, text: str) -> None:
    """Bytes are whole, larger units have one decimal place."""
    assert show_size(size) == text


def test_one_is_no_plural() -> None:
    """Everything but one has an s."""
    assert [show_count(number, "tag") for number in (0, 1, 2)] == ["0 tags", "1 tag", "2 tags"]


def test_instants_are_utc() -> None:
    """People see seconds, programs milliseconds, both in ISO 8601."""
    assert show_instant(1_767_225_600_999) == "2026-01-01T00:00:00Z"
    assert exact_instant(1_767_225_600_999) == "2026-01-01T00:00:00.999Z"


def test_a_terminal_obeys_nothing_that_is_shown() -> None:
    """Escape sequences, line ends and marks of direction are written out."""
    assert show_text("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\\n\\u202ec"
    assert show_text("größer 東") == "größer 東"

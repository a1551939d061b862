"""RESULTS.md: what each benchmark has measured, in a section of its own that its next run replaces."""

import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

_FILE = Path(__file__).with_name("RESULTS.md")
_HEAD = """# Measured

Each section is written by the benchmark that it names, with `--write`. Everything ran on one machine, clients and
servers together, in interleaved rounds: read the ratios, which are medians of the rounds of one run (the least and the
most in brackets); times of another machine are others.
"""


def write_section(title: str, command: str, lines: Iterable[str]) -> None:
    """Put the section into RESULTS.md, in the place of the one with this title, or at the end."""
    text = _FILE.read_text() if _FILE.exists() else _HEAD
    section = f"## {title}\n\n`{command}` on {describe_machine()}\n\n" + "\n".join(lines) + "\n"
    before, found, rest = text.partition(f"## {title}\n")
    after = re.search(r"^## ", rest, re.MULTILINE)
    kept = rest[after.start() :] if found and after else ""
    _FILE.write_text("\n".join(part for part in (before.rstrip("\n") + "\n", section, kept) if part))


def describe_machine() -> str:
    """Processors, memory and versions: what the figures depend on."""
    mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = "with PGO" if optimised else "without PGO: slower than Debian's"
    return (
        f"{os.cpu_count()} cores, {round(mib / 1024)} GiB, Linux {platform.release().partition('-')[0]},"
        f" Python {platform.python_version()} ({build})."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """In Markdown; the first column is text, the others are numbers."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    return lines + [_line(row) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

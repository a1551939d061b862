"""RESULTS.md: what each benchmark has measured, in a section of its own that its next run replaces."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_FILE = Path(__file__).with_name("RESULTS.md")
_HEAD = """# Measured

Each section is written by the benchmark that it names, with `--write`. Everything ran on one machine, clients and
servers together, in interleaved rounds: read the ratios, which are medians of the rounds of one run (the least and the
most in brackets); times of another machine are others.
"""


_ASK = """import json, platform, sysconfig
print(json.dumps([platform.python_version(), sysconfig.get_config_var("CONFIG_ARGS")]))
"""
# Debian optimises with a profile by rules of its own, which leave no other trace than that it is Debian's.
_SIGNS_OF_PGO = ("--enable-optimizations", "--with-wheel-pkg-dir=/usr/share/python-wheels")


def write_section(title: str, command: str, lines: Iterable[str], python: str = sys.executable) -> None:
    """Put the section into RESULTS.md, in the place of the one with this title, or at the end."""
    text = _FILE.read_text() if _FILE.exists() else _HEAD
    section = f"## {title}\n\n`{command}` on {describe_machine(python)}\n\n" + "\n".join(lines) + "\n"
    before, found, rest = text.partition(f"## {title}\n")
    after = re.search(r"^## ", rest, re.MULTILINE)
    kept = rest[after.start() :] if found and after else ""
    _FILE.write_text("\n".join(part for part in (before.rstrip("\n") + "\n", section, kept) if part))


def describe_machine(python: str = sys.executable) -> str:
    """Processors, memory and versions: what the figures depend on."""
    mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    version, is_optimised = describe_python(python)
    build = "with PGO" if is_optimised else "without PGO: slower than Debian's"
    return (
        f"{os.cpu_count()} cores ({_processor()}), {round(mib / 1024)} GiB,"
        f" Linux {platform.release().partition('-')[0]}, Python {version} ({build})."
    )


def describe_python(python: str) -> tuple[str, bool]:
    """The version of an interpreter, and whether it was optimised with a profile (PGO)."""
    done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True)
    version, arguments = json.loads(done.stdout)
    return version, any(sign in (arguments or "") for sign in _SIGNS_OF_PGO)


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """In Markdown; the first column is text, the others are numbers."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    return lines + [_line(row) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

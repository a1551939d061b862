"""What a server costs: processor time and memory of its process and all that it has started."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.05  # seconds between two looks at the memory
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Used so far by the process and its descendants that still run."""
    fields = [_stat(each) for each in family(pid)]
    return sum(int(field[11]) + int(field[12]) for field in fields if field) / _TICKS  # utime and stime


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        fields = _stat(int(folder.name)) if folder.name.isdecimal() else []
        if fields:
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def memory(pid: int) -> float:
    """MiB that the process and its descendants hold; of what several share each counts its part (PSS)."""
    return sum(_pss(each) for each in family(pid)) / 1024


@dataclass
class Peak:
    """MiB; complete when the watching has ended."""

    mib: float = 0.0


@contextmanager
def watching(pid: int) -> Iterator[Peak]:
    """Look at the memory again and again while the block lasts."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            peak.mib = max(peak.mib, memory(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _stat(pid: int) -> list[str]:
    """The fields after the name; none of a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pss(pid: int) -> int:
    """KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

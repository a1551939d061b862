"""A disk whose power can be cut: mounts `lossyfs`, and mounts again what a power cut left."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.tree import Survivors
from tests.waiting import wait_until

MOUNTS = Path("/proc/self/mounts")


class Disk:
    """A mounted file system; `cut_power` leaves it mounted with only what had been synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "left"
        self.path = folder / "disk"
        self._folder.mkdir(parents=True)
        self.path.mkdir()

    def __enter__(self) -> Self:
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end("")

    def cut_power(self, survivors: Survivors = Survivors.NOTHING) -> None:
        self._end(f"cut {survivors.value}\n")
        self._mount()

    def _mount(self) -> None:
        command = [sys.executable, "-m", "tests.faults.lossyfs", str(self._folder), str(self.path)]
        self._daemon = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        wait_until(self._is_mounted, "the lossy file system is mounted")

    def _end(self, command: str) -> None:
        self._daemon.communicate(command, timeout=30)
        assert self._daemon.returncode == 0, "the lossy file system failed"
        assert not self._is_mounted()

    def _is_mounted(self) -> bool:
        assert self._daemon.poll() in {None, 0}, "the lossy file system failed"
        return any(line.split()[1] == str(self.path) for line in MOUNTS.read_text().splitlines())

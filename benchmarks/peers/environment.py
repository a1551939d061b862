"""Where the benchmark runs: a disk, an interpreter that was optimised with a profile, our command installed on it."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.results import describe_python

DEBIAN_PYTHON = "/usr/bin/python3"
_PROJECT = Path(__file__).parents[2]
_IN_MEMORY = {"tmpfs", "ramfs"}


def cache() -> Path:
    """Where .ci/install keeps what it has fetched, too."""
    return Path(os.environ.get("ENTREPOT_CACHE") or Path.home() / ".cache" / "entrepot")


def install(python: str) -> Path:
    """Our command in a virtual environment of that interpreter, kept in the cache; the code is this checkout's."""
    version, is_optimised = describe_python(python)
    if not is_optimised:
        warning = f"{python} was built without PGO: ours is slower on it than on Debian's {DEBIAN_PYTHON}"
        print(f"warning: {warning}", file=sys.stderr)
    folder = cache() / f"benchmark-{version}{'' if is_optimised else '-without-pgo'}"
    if not (folder / "bin" / "pip").exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(_PROJECT / "constraints.txt"), "-e", str(_PROJECT)], check=True)
    return folder / "bin" / "entrepot"


def is_in_memory(folder: Path) -> bool:
    """Whether a sync of files in it costs nothing."""
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() in _IN_MEMORY

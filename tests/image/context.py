"""What the image is built from: a copy of this checkout with the wheels of everything that the build installs."""

import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
PYTHON = "3.11"  # of the base that tests/image/base makes, with its C library's version
GLIBC_MINORS = range(36, 16, -1)
NOT_SOURCE = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "data", "dist", "wheels")


def read_project() -> Any:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def make_context(folder: Path) -> Path:
    shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    download_wheels(folder / "wheels")
    return folder


def download_wheels(folder: Path) -> None:
    """Fetch the wheels that fit the base, whatever Python runs this."""
    project = read_project()
    requirements = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    system = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{system}" for minor in GLIBC_MINORS]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"),
            *(*platforms, f"--platform=manylinux2014_{system}"),
            *(f"--dest={folder}", f"--constraint={CHECKOUT / 'constraints.txt'}", *requirements),
        ],
        stdin=subprocess.DEVNULL,
        check=True,
    )


def base_archive() -> Path:
    made = subprocess.run([CHECKOUT / "tests" / "image" / "base"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())

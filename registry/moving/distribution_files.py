"""The files of a CNCF distribution registry, read where they are."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from registry.moving.distribution import ABOVE, spell_path
from registry.moving.files import Files, read_file
from storage.digest import Digest, InvalidDigest


def find_root(path: Path) -> Path | None:
    """The directory that has `blobs` and `repositories`: the path itself or one that it is above of."""
    for below in ABOVE:
        if (path / below / "blobs").is_dir() and (path / below / "repositories").is_dir():
            return path / below
    return None


class FileTree:
    """The Tree of the directory `root`."""

    def __init__(self, root: Path) -> None:
        self._repositories = root / "repositories"
        self.contents = Files(lambda digest: root / spell_path(digest))

    async def list_names(self) -> list[str]:
        """A repository may have others below it; what begins with _ is its own."""
        names: list[str] = []
        for parent, below, _ in os.walk(self._repositories, onerror=_raise):
            if "_manifests" in below:
                names.append(Path(parent).relative_to(self._repositories).as_posix())
            below[:] = [name for name in below if not name.startswith("_")]
        return sorted(names)

    async def has(self, name: str) -> bool:
        return self._links(name).is_dir()

    async def list_revisions(self, name: str, problems: list[str]) -> list[Digest]:
        links = filter(Path.exists, _list_links(self._links(name) / "revisions"))  # a deleted one leaves its folder
        return [digest for link in sorted(links, key=_age) if (digest := _follow(link, problems))]

    async def tags(self, name: str, problems: list[str]) -> AsyncIterator[tuple[str, Digest]]:
        for tag in _entries(self._links(name) / "tags"):
            if digest := _follow(tag / "current" / "link", problems):
                yield tag.name, digest

    async def list_former(self, name: str, tag: str, problems: list[str]) -> list[Digest]:
        links = _list_links(self._links(name) / "tags" / tag / "index")
        return [digest for link in links if (digest := _follow(link, problems))]

    def _links(self, name: str) -> Path:
        return self._repositories / name / "_manifests"


def _list_links(folder: Path) -> list[Path]:
    """By algorithm and digest."""
    return [leaf / "link" for algorithm in _entries(folder) for leaf in _entries(algorithm)]


def _entries(folder: Path) -> list[Path]:
    """What is in the folder, if it is one. Raises OSError: a folder that may not be read is not empty."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _follow(link: Path, problems: list[str]) -> Digest | None:
    try:
        return Digest.parse(read_file(link).decode("ascii").strip())
    except FileNotFoundError:
        return None  # a tag that was deleted leaves its folder
    except (OSError, UnicodeDecodeError, InvalidDigest):
        problems.append(f"{link} is no link to a digest")
        return None


def _age(link: Path) -> tuple[int, str]:
    return link.stat().st_mtime_ns, str(link)


def _raise(problem: OSError) -> None:
    raise problem

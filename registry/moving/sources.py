"""Where images can come from: what every kind of source is made of."""

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from registry.oci import media_types
from registry.oci.manifest import MOST_BYTES
from storage.digest import Digest

_MOST_BYTES = 64 << 20  # of an index of everything that there is

FindFile: TypeAlias = Callable[[Digest], Path]


class Unreadable(Exception):
    """One thing in the source is missing or no longer what it was; the message says which."""


@dataclass(frozen=True, slots=True)
class Root:
    """A manifest that the source names itself, other than as a part of another one.

    `media_type` where the source says it; `tags` that point to it.
    """

    digest: Digest
    media_type: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceRepository:
    """`name` as the source has it, perhaps not one that a registry accepts. `roots`: the oldest first.

    `find_file` says where the bytes of a digest are, or would be. `problems` were found while it was looked at.
    """

    name: str
    roots: list[Root]
    find_file: FindFile
    problems: list[str] = field(default_factory=list)


def read_manifest(find_file: FindFile, digest: Digest) -> bytes:
    """The bytes of a manifest, hashed. Raises Unreadable."""
    path = find_file(digest)
    try:
        with open(path, "rb", opener=open_file) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Unreadable("the manifest is not in the source") from None
    except OSError as problem:
        raise Unreadable(f"the manifest cannot be read: {problem.strerror}") from None
    if len(content) <= MOST_BYTES and Digest.of(content, digest.algorithm) != digest:
        raise Unreadable("the manifest's bytes have another digest")
    return content


def open_file(path: str, flags: int) -> int:
    """An opener for `open`, of files alone: a pipe of that name would be waited for, for ever. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", path)
    return descriptor


def read_file(path: Path) -> bytes:
    """A small one: what a source says of itself. Raises OSError, also when it is no file, or no small one."""
    with open(path, "rb", opener=open_file) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def guess_media_type(content: bytes) -> str:
    """What a manifest says that it is, or looks like; nothing where it looks like none."""
    try:
        fields = json.loads(content)
    except ValueError:
        return ""
    if not isinstance(fields, dict):
        return ""
    stated: Any = fields.get("mediaType")
    if isinstance(stated, str):
        return stated
    if "manifests" in fields:
        return media_types.OCI_INDEX
    return media_types.OCI_MANIFEST if "config" in fields and "layers" in fields else ""

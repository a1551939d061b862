"""What a request is about: the one parser of paths. Guard and endpoint get its result, so they cannot disagree.

Paths are read from the right, because a repository may be named like an endpoint (`a/manifests`, `x/blobs/uploads`).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from registry.errors import EndpointUnknown, NameInvalid, PathTooLong
from registry.oci.names import RepositoryName

_LONGEST = 8192  # bytes
_ESCAPED_SEPARATOR = re.compile(rb"%(2f|5c|00|25)", re.IGNORECASE)  # what a second decoder would read as another path
_NOT_IN_PATHS = re.compile(r"[\x00-\x20\x7f\\#?]")


class Kind(StrEnum):
    """Kinds of endpoints; the names are labels of logs and metrics, too."""

    ROOT = "root"
    CATALOG = "catalog"
    MANIFEST = "manifest"
    TAGS = "tags"
    REFERRERS = "referrers"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Target:
    """`reference` is a tag, digest or session id as it was written; root and catalog have neither it nor a name."""

    kind: Kind
    name: RepositoryName | None = None
    reference: str = ""

    @property
    def repository(self) -> RepositoryName:
        """The repository of an endpoint that has one."""
        if self.name is None:
            raise EndpointUnknown
        return self.name


def parse_target(raw_path: bytes) -> Target:  # noqa: C901, PLR0911 - a table, one endpoint a case
    """Parse the path as it came over the wire, without the query. Raises NameInvalid, EndpointUnknown, PathTooLong."""
    segments = _segments(raw_path)
    if segments[:2] != ["", "v2"]:
        raise EndpointUnknown
    match segments[2:]:
        case [] | [""]:
            return Target(Kind.ROOT)
        case ["_catalog"]:
            return Target(Kind.CATALOG)
        case [*name, "tags", "list"]:
            return _target(Kind.TAGS, name, "")
        case [*name, "manifests", reference]:
            return _target(Kind.MANIFEST, name, reference)
        case [*name, "referrers", reference]:
            return _target(Kind.REFERRERS, name, reference)
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return _target(Kind.UPLOADS, name, "")
        case [*name, "blobs", "uploads", reference]:
            return _target(Kind.UPLOAD, name, reference)
        case [*name, "blobs", reference]:
            return _target(Kind.BLOB, name, reference)
    raise EndpointUnknown


def _segments(raw_path: bytes) -> list[str]:
    if len(raw_path) > _LONGEST:
        raise PathTooLong
    if _ESCAPED_SEPARATOR.search(raw_path):
        raise NameInvalid
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise NameInvalid from None
    if _NOT_IN_PATHS.search(path):
        raise NameInvalid
    return path.split("/")


def _target(kind: Kind, name: list[str], reference: str) -> Target:
    if not name:
        raise EndpointUnknown
    return Target(kind, RepositoryName.parse("/".join(name)), reference)

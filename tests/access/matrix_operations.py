"""How each operation of the authorization matrix is asked for, and how its success is undone."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from tests.access.login import Header
from tests.access.parties import FIRST, NOWHERE, PRIVATE, PUBLIC, SECOND, VAULT, World, content_of
from tests.api.content import OCI_INDEX, digest_of, fresh_blob, index

MANIFEST_TYPE: Header = ("Content-Type", OCI_INDEX)
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Request:
    """Below `/v2/NAME/`; `sources` are the repositories that a token for it covers besides."""

    path: str
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    sources: tuple[str, ...] = ()


# Makes the request of a party on a name.
Write = Callable[[World, str, str], Request]


@dataclass(frozen=True, slots=True)
class Operation:
    """`kind` and `method` are those of the route table; `makes` a repository where there is none."""

    kind: str
    method: str
    write: Write
    makes: bool = False
    spoils: bool = False  # its success has to be undone
    source: str = ""  # that a mount names
    leaves: str = ""  # a blob that must not stay where others could mount it from


def _fixed(path: str, body: bytes = b"") -> Write:
    return lambda _world, _party, _name: Request(path, body)


def _fresh_index() -> bytes:
    return index([], annotations={"number": str(next(_numbers))})


def _fresh_tag(prefix: str = "new") -> str:
    return f"{prefix}-{next(_numbers):06}"


def _put(content: bytes, reference: str, query: str = "") -> Request:
    return Request(f"manifests/{reference}{query}", content, (MANIFEST_TYPE,))


def _blob(_world: World, _party: str, name: str) -> Request:
    return Request(f"blobs/{digest_of(content_of(name))}")


def _upload(_world: World, _party: str, _name: str) -> Request:
    content = fresh_blob()
    return Request(f"blobs/uploads/?digest={digest_of(content)}", content)


def _mount(digest_source: str, source: str = "") -> Write:
    query = f"blobs/uploads/?mount={digest_of(content_of(digest_source))}{source and f'&from={source}'}"
    return lambda _world, _party, _name: Request(query, sources=(source or digest_source,))


def _own(world: World, party: str, name: str) -> str:
    return world.session(party, name)


def _others(world: World, party: str, name: str) -> str:
    """Of whoever pushes there."""
    return world.session("tenant" if party != "tenant" else "root", name)


def _foreign(world: World, party: str, name: str) -> str:
    """The caller's own, in a repository where it may be allowed even less."""
    return world.session(party, "acme/elsewhere" if name != "acme/elsewhere" else PUBLIC)


def _session(method: str, find: Callable[[World, str, str], str]) -> Write:
    def write(world: World, party: str, name: str) -> Request:
        path = f"blobs/uploads/{find(world, party, name)}"
        if method == "PUT":
            content = fresh_blob()
            return Request(f"{path}?digest={digest_of(content)}", content)
        return Request(path, b"piece" if method == "PATCH" else b"")

    return write


def _by_digest(_world: World, _party: str, _name: str) -> Request:
    content = _fresh_index()
    return _put(content, digest_of(content))


def _query(*tags: Callable[[], str]) -> Write:
    def write(_world: World, _party: str, _name: str) -> Request:
        content = _fresh_index()
        return _put(content, digest_of(content), "?" + "&".join(f"tag={tag()}" for tag in tags))

    return write


_DIGEST = digest_of(FIRST)
_MANIFEST_PUTS: dict[str, Write] = {
    "by digest": _by_digest,
    "again digest": lambda _world, _party, _name: _put(FIRST, _DIGEST),
    "new ci tag": lambda _world, _party, _name: _put(_fresh_index(), _fresh_tag("ci")),
    "new tag": lambda _world, _party, _name: _put(_fresh_index(), _fresh_tag()),
    "query new": _query(_fresh_tag),
    "ci and new": lambda _world, _party, _name: _put(_fresh_index(), _fresh_tag("ci"), f"?tag={_fresh_tag()}"),
    "moving": lambda _world, _party, _name: _put(SECOND, "v1"),
    "query moving": _query(lambda: "v1"),
    "query mixed": _query(_fresh_tag, lambda: "v1"),
    "moving ci": lambda _world, _party, _name: _put(SECOND, "ci-1"),
    "same again": lambda _world, _party, _name: _put(FIRST, "v1"),
}
_PATHS: dict[str, tuple[str, Write]] = {
    "manifest": ("manifest", _fixed("manifests/v1")),
    "manifest by tag": ("manifest", _fixed("manifests/v1")),
    "manifest by digest": ("manifest", _fixed(f"manifests/{_DIGEST}")),
    "blob": ("blob", _blob),
    "tags": ("tags", _fixed("tags/list")),
    "referrers": ("referrers", _fixed(f"referrers/{_DIGEST}")),
    "uploads": ("uploads", _fixed("blobs/uploads/")),
    "session": ("upload", _fixed("blobs/uploads/no-such-session")),
    "uploads with blob": ("uploads", _upload),
    "mount from public": ("uploads", _mount(PUBLIC, PUBLIC)),
    "mount public anywhere": ("uploads", _mount(PUBLIC)),
    "mount from private": ("uploads", _mount(PRIVATE, PRIVATE)),
    "mount from vault": ("uploads", _mount(VAULT, VAULT)),
    "mount vault anywhere": ("uploads", _mount(VAULT)),
    "mount from missing": ("uploads", _mount(VAULT, NOWHERE)),
}
_SOURCES = {
    "mount from public": PUBLIC,
    "mount from private": PRIVATE,
    "mount from vault": VAULT,
    "mount from missing": NOWHERE,
}
_SESSIONS = {"own session": _own, "others session": _others, "foreign session": _foreign}
_MAKING_UPLOADS = {"uploads with blob", *(what for what in _PATHS if what.startswith("mount"))}


def find_operation(text: str) -> Operation:
    """The operation that the table names."""
    method, _, what = text.partition(" ")
    if what in _SESSIONS:
        return Operation("upload", method, _session(method, _SESSIONS[what]), makes=method == "PUT")
    if method == "PUT" and what.removeprefix("manifest ") in _MANIFEST_PUTS:
        write = _MANIFEST_PUTS[what.removeprefix("manifest ")]
        return Operation("manifest", method, write, makes=True, spoils="moving" in what or "mixed" in what)
    kind, write = _PATHS[what]
    leaves = digest_of(content_of(VAULT)) if "vault" in what else ""
    makes, source = what in _MAKING_UPLOADS, _SOURCES.get(what, "")
    return Operation(kind, method, write, makes, method == "DELETE", source, leaves)

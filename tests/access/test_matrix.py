"""The authorization matrix: every caller, every operation, every kind of name, by Basic and by Bearer."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from registry.api.door import Door
from registry.app import _distribution, _guard, create_app
from tests.access import matrix
from tests.access.matrix_operations import Operation, find_operation
from tests.access.parties import COLUMNS, PARTIES, SEEDED, TOKEN_ERRORS, Credential, World, credentials_of
from tests.api.wire import HOST, Reply
from tests.places import make_config

_SAFE = {"GET", "HEAD", "OPTIONS"}
_CODES = {"401": "UNAUTHORIZED", "403": "DENIED", "404": "NAME_UNKNOWN", "405": "UNSUPPORTED"}
_EQUAL = ("private", "missing", "outside")  # their names have the same length
_MAY_PULL = {"puller", "deleter", "owner", "robot", "ci", "root", "stale", "elsewhere"}  # and so know what exists
_NEEDED = {"GET": "pull", "HEAD": "pull", "DELETE": "pull,delete"}


@dataclass(frozen=True, slots=True)
class Row:
    """One caller's line of a block, for one operation of it."""

    operation: str
    success: str
    absent: str
    party: str
    words: tuple[str, ...]


def _rows() -> Iterator[Row]:
    for block in matrix.BLOCKS:
        above, below = re.split(r"(?m)^-{20,} .*$\n", block.strip() + "\n")
        lines = [(line[:28].split(), tuple(line[28:].split())) for line in below.splitlines()]
        for line in above.splitlines():
            name, (success, absent) = line[:28].strip(), line[28:].split()
            for callers, words in lines:
                yield from (Row(name, success, absent, party, words) for party in callers)


ROWS = list(_rows())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Shared by the module: what a cell changes is undone, or was nobody else's."""
    world = World(tmp_path_factory.mktemp("matrix"))
    try:
        world.populate()
        yield world
    finally:
        world.close()


def test_the_table_is_whole(world: World) -> None:
    """Each route has rows, each operation a line for each caller, and each line a word for each kind of name."""
    routes = _distribution(world.house.registry, _guard(world.house.registry))._routes
    operations = {row.operation: find_operation(row.operation) for row in ROWS}
    tabled = {(found.kind, found.method) for name, found in operations.items() if not _is_unknown(name)}
    missing = {(kind.value, method) for kind, method in routes} - tabled
    assert missing == {(kind, method) for kind in ("root", "catalog") for method in ("GET", "HEAD")}  # REGISTRY's
    assert tabled <= {(kind.value, method) for kind, method in routes}
    for operation in operations:
        callers = [row.party for row in ROWS if row.operation == operation]
        assert sorted(callers) == sorted(PARTIES), operation
    assert {len(row.words) for row in ROWS} == {len(COLUMNS)}


def test_no_route_beside_the_table(tmp_path: Path) -> None:
    """Outside of the distribution API there are only the endpoints that the tests below ask."""
    door = create_app(make_config(tmp_path))
    assert isinstance(door, Door)
    app = door._app
    assert isinstance(app, Starlette)
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert len(app.routes) == len(routes)
    assert {(route.path, method) for route in routes for method in route.methods or ()} == {
        *itertools.product(("/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/token"), ("GET", "HEAD")),
        ("/token", "POST"),
    }

    async def close() -> None:
        async with app.router.lifespan_context(app):
            """Whoever begins it ends it."""

    asyncio.run(close())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.party}-{row.operation.replace(' ', '_')}")
def test_cells(world: World, row: Row) -> None:
    """Each cell is as the table says; nothing that was refused left a trace, or told what exists."""
    operation = find_operation(row.operation)
    wrong: list[str] = []
    for credential in credentials_of(row.party):
        refused: dict[str, dict[str, object]] = {}
        for column, word in zip(COLUMNS, row.words, strict=True):
            name = world.name(column, row.party)
            reply, problems = _try(world, operation, credential, name, column)
            problems += _differences(reply, operation, row, word, name)
            if word == "401":
                problems += _wrong_challenge(reply, operation, credential, name)
            if word in {"401", "403", "404", "405"}:
                refused.setdefault(word, {})[column] = _anonymised(
                    reply, name, operation.source, keeps_length=column in _EQUAL
                )
            wrong += [f"{credential.way} {column} ({name}), expected {word}: {problem}" for problem in problems]
        wrong += [
            f"{credential.way}: {problem}"
            for word, found in refused.items()
            for problem in _tells(word, found, row.party)
        ]
    assert not wrong, "\n" + "\n".join(wrong)


def _is_unknown(name: str) -> bool:
    return any(row.operation == name and "405" in row.words for row in ROWS)


def _try(world: World, operation: Operation, credential: Credential, name: str, column: str) -> tuple[Reply, list[str]]:
    request = operation.write(world, credential.party, name)
    before = world.state() if operation.method not in _SAFE else None
    headers = (*world.headers(credential, name, *request.sources), *request.headers)
    reply = world.call(operation.method, f"/v2/{name}/{request.path}", *headers, body=request.body)
    if reply.status >= 400:
        after = world.state() if before is not None else None
        return reply, [] if after == before else [f"it was refused, but something has changed: {before} is {after} now"]
    _undo(world, operation, credential.party, name, column)
    if operation.leaves and reply.status == 201:
        world.as_admin("DELETE", f"/v2/{name}/blobs/{operation.leaves}")
    return reply, []


def _undo(world: World, operation: Operation, party: str, name: str, column: str) -> None:
    if operation.kind == "upload" and operation.method not in _SAFE:
        world.sessions.pop((party, name), None)
    if operation.makes and name not in SEEDED:
        world.came_to_be(column, party)
    elif operation.spoils:
        world.seed(name)


def _differences(reply: Reply, operation: Operation, row: Row, word: str, name: str) -> list[str]:
    status = {"ok": row.success, "none": "404"}.get(word, word)
    if reply.status != int(status):
        return [f"it was {reply.status} {reply.body[:200]!r}"]
    problems = []
    code = row.absent if word == "none" else _CODES.get(word, "")
    if operation.method != "HEAD" and reply.code != code:
        problems.append(f"the code was {reply.code}")
    said = {"code": code, "message": f"there is no repository {name}", "detail": {"name": name}}
    if word == "404" and operation.method != "HEAD" and reply.errors != [said]:
        problems.append(f"it says {reply.errors}")
    return problems


def _wrong_challenge(reply: Reply, operation: Operation, credential: Credential, name: str) -> list[str]:
    """One Bearer challenge, which names the scope that the operation needs, and what was wrong with a token."""
    needed = "pull,push" if operation.kind in {"upload", "uploads"} else _NEEDED.get(operation.method, "pull,push")
    error = TOKEN_ERRORS.get(credential.party, "") if credential.way == "bearer" else ""
    source = f" repository:{operation.source}:pull" if operation.source else ""
    pattern = (
        rf'Bearer realm="http://{HOST}:\d+/token",service="entrepot-\d{{12}}",'
        rf'scope="repository:{re.escape(name)}:{needed}{source}"'
        + (f',error="{error}",error_description="[^"]+"' if error else "")
    )
    challenges = reply.lines("WWW-Authenticate")
    is_right = len(challenges) == 1 and re.fullmatch(pattern, challenges[0])
    return [] if is_right else [f"the challenge is {challenges}, not {pattern}"]


def _anonymised(reply: Reply, name: str, source: str, *, keeps_length: bool) -> object:
    """All that the answer tells, but for its id, its instant and the names that were asked for."""
    dropped = {"x-request-id", "date"} | (set() if keeps_length else {"content-length"})
    shown = [(header.lower(), value.replace(f" repository:{source}:pull", "")) for header, value in reply.headers]
    headers = [(header, value.replace(name, "NAME")) for header, value in shown]
    body = re.sub(rb"(new|ci)-\d{6}", b"TAG", reply.body.replace(name.encode(), b"NAME"))
    kept = [(header, value) for header, value in headers if header not in dropped]
    return reply.status, kept, body


def _tells(word: str, found: dict[str, object], party: str) -> list[str]:
    """Whether two names that are refused alike are told apart."""
    exact = [found[column] for column in _EQUAL if column in found]
    if word == "403" and party in _MAY_PULL:
        return []
    problems = [f"{word} tells them apart: {one} {other}" for one, other in itertools.pairwise(exact) if one != other]
    rough = [found[column] for column in ("evil", "bare", "deep") if column in found]
    return problems + [f"{word} tells them apart: {a} {b}" for a, b in itertools.pairwise(rough) if a != b]

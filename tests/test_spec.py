"""The specification's tables, written down a second time by hand, against the ones that the program works by.

distribution-spec v1.1.1 and what its main branch adds: sections "Endpoints" and "Error Codes".
"""

from collections.abc import Iterator

import pytest

from registry import errors
from registry.access.grants import Action
from registry.api.routes import Routes
from registry.api.target import Kind, parse_target
from registry.app import Registry, _distribution, _guard
from registry.config import Config
from registry.errors import RegistryError

CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
OURS = {"UNKNOWN"}  # for 5xx, of which the specification says nothing

# Every status that goes out with a code. A pair that is not here is a change that clients can see.
STATUSES = {
    "BLOB_UNKNOWN": {404},
    "BLOB_UPLOAD_INVALID": {400, 408, 416},
    "BLOB_UPLOAD_UNKNOWN": {404},
    "DIGEST_INVALID": {400},
    "MANIFEST_BLOB_UNKNOWN": {404},
    "MANIFEST_INVALID": {400},
    "MANIFEST_UNKNOWN": {404},
    "NAME_INVALID": {400},
    "NAME_UNKNOWN": {404},
    "SIZE_INVALID": {400, 413, 416},
    "UNAUTHORIZED": {401},
    "DENIED": {403, 412},
    "UNSUPPORTED": {400, 404, 405, 408, 413, 414, 415, 417, 431},
    "TOOMANYREQUESTS": {429},
    "UNKNOWN": {500, 503, 507},
}

NAME = "a/b"
DIGEST = f"sha256:{'0' * 64}"
SESSION = "a-session"

# Section "Endpoints": id, methods, path. The methods beside the specification's own are HEAD, as RFC 9110 wants.
ENDPOINTS = [
    ("end-1", "GET HEAD", "/v2/"),
    ("end-2", "GET HEAD", f"/v2/{NAME}/blobs/{DIGEST}"),
    ("end-3", "GET HEAD", f"/v2/{NAME}/manifests/{DIGEST}"),
    ("end-3", "GET HEAD", f"/v2/{NAME}/manifests/latest"),
    ("end-4", "POST", f"/v2/{NAME}/blobs/uploads/"),
    ("end-5", "PATCH", f"/v2/{NAME}/blobs/uploads/{SESSION}"),
    ("end-6", "PUT", f"/v2/{NAME}/blobs/uploads/{SESSION}"),
    ("end-7", "PUT", f"/v2/{NAME}/manifests/{DIGEST}"),
    ("end-7", "PUT", f"/v2/{NAME}/manifests/latest"),
    ("end-8", "GET HEAD", f"/v2/{NAME}/tags/list"),
    ("end-9", "DELETE", f"/v2/{NAME}/manifests/{DIGEST}"),
    ("end-9", "DELETE", f"/v2/{NAME}/manifests/latest"),
    ("end-10", "DELETE", f"/v2/{NAME}/blobs/{DIGEST}"),
    ("end-4", "POST", f"/v2/{NAME}/blobs/uploads"),  # end-11 and end-4 differ in their queries only
    ("end-12", "GET HEAD", f"/v2/{NAME}/referrers/{DIGEST}"),
    ("end-13", "GET HEAD", f"/v2/{NAME}/blobs/uploads/{SESSION}"),
    ("end-14", "DELETE", f"/v2/{NAME}/blobs/uploads/{SESSION}"),
    ("", "GET HEAD", "/v2/_catalog"),
]

ACTIONS = {
    "end-1": Action.ANY,
    "end-2": Action.PULL,
    "end-3": Action.PULL,
    "end-4": Action.PUSH,
    "end-5": Action.PUSH,
    "end-6": Action.PUSH,
    "end-7": Action.PUSH,
    "end-8": Action.PULL,
    "end-9": Action.DELETE,
    "end-10": Action.DELETE,
    "end-12": Action.PULL,
    "end-13": Action.PUSH,
    "end-14": Action.PUSH,
    "": Action.CATALOG,
}


def all_errors() -> list[type[RegistryError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RegistryError)]
    return [one for one in found if one is not RegistryError]


def test_codes() -> None:
    """The program knows the specification's codes and UNKNOWN, and no other."""
    assert {error.code for error in all_errors()} == CODES | OURS


def test_statuses() -> None:
    """Every code goes out with the statuses of the table; a 4xx has a code of the specification."""
    found: dict[str, set[int]] = {}
    for error in all_errors():
        found.setdefault(error.code, set()).add(error.status)
        assert (error.status >= 500) == (error.code in OURS), error
    assert found == STATUSES


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_messages(error: type[RegistryError]) -> None:
    """Every error has a message that fits into a sentence."""
    assert error.message
    assert not error.message.endswith(".")
    assert error.message[0].islower()


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    """The table of a registry that is put together as the server does it."""
    registry = Registry(Config(data=tmp_path_factory.mktemp("routes")))
    yield _distribution(registry, _guard(registry))._routes
    registry.close()


@pytest.mark.parametrize(("spec", "methods", "path"), ENDPOINTS)
def test_endpoints(routes: Routes, spec: str, methods: str, path: str) -> None:
    """Every endpoint of the specification is in the table, under its id."""
    kind = parse_target(path.encode()).kind
    for method in methods.split():
        assert routes[kind, method].spec == spec


def test_there_are_no_other_endpoints(routes: Routes) -> None:
    """And nothing else is."""
    known = {(parse_target(path.encode()).kind, method) for _, methods, path in ENDPOINTS for method in methods.split()}
    assert routes.keys() == known
    assert {kind for kind, _ in routes} == set(Kind)


def test_every_route_has_its_action(routes: Routes) -> None:
    """What a route needs the right to is written down twice."""
    assert {(route.spec, route.action) for route in routes.values()} == set(ACTIONS.items())
    for (_, method), route in routes.items():
        assert route.action in {Action.ANY, Action.PULL, Action.CATALOG, Action.PUSH} or method == "DELETE"


@pytest.mark.parametrize(("spec", "methods", "path"), ENDPOINTS)
def test_targets(spec: str, methods: str, path: str) -> None:
    """The parser of paths finds repository and reference of every endpoint."""
    target = parse_target(path.encode())
    assert (target.name.value if target.name else "") == (NAME if NAME in path else ""), (spec, methods)
    assert target.reference in {"", "latest", DIGEST, SESSION}
    assert path.rstrip("/").endswith(target.reference)

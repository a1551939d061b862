"""Conditional requests (RFC 9110, section 13): who writes only what he has read loses nothing of others."""

import pytest

from tests.api.content import ABSENT, Repository, digest_of, image
from tests.api.watching import WatchedServer
from tests.api.wire import Reply


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


@pytest.fixture
def current(repository: Repository) -> bytes:
    """What the tag v1 points to."""
    return repository.push_image("v1")


def put(repository: Repository, reference: str, content: bytes, name: str, value: str) -> Reply:
    return repository.put(reference, content, None, (name, value))


def delete(repository: Repository, reference: str, name: str, value: str) -> Reply:
    return repository.call("DELETE", f"manifests/{reference}", (name, value))


def assert_condition_failed(reply: Reply) -> None:
    assert (reply.status, reply.code) == (412, "DENIED")


@pytest.mark.input(24)
def test_put_if_match(repository: Repository, current: bytes) -> None:
    """A tag moves only from what the client has read."""
    update = image(repository.push_blob())
    assert_condition_failed(put(repository, "v1", update, "If-Match", f'"{ABSENT}"'))
    assert_condition_failed(put(repository, "v2", update, "If-Match", f'"{digest_of(current)}"'))
    assert_condition_failed(put(repository, "v2", update, "If-Match", "*"))
    assert_condition_failed(put(repository, "v1", update, "If-Match", f'W/"{digest_of(current)}"'))
    assert repository.call("GET", "manifests/v1").body == current
    assert repository.tags() == ["v1"]
    assert repository.status(f"manifests/{digest_of(update)}") == 404
    assert put(repository, "v1", update, "If-Match", f'"{ABSENT}", "{digest_of(current)}"').status == 201
    assert put(repository, "v1", current, "If-Match", "*").status == 201


@pytest.mark.input(24)
def test_put_if_none_match(repository: Repository, current: bytes) -> None:
    """A tag is made only where there is none."""
    update = image(repository.push_blob())
    assert_condition_failed(put(repository, "v1", update, "If-None-Match", "*"))
    assert_condition_failed(put(repository, "v1", update, "If-None-Match", f'W/"{digest_of(current)}"'))
    assert repository.call("GET", "manifests/v1").body == current
    assert put(repository, "v2", update, "If-None-Match", "*").status == 201
    assert_condition_failed(put(repository, "v2", current, "If-None-Match", "*"))
    assert put(repository, "v2", current, "If-None-Match", f'"{digest_of(current)}"').status == 201


def test_put_by_digest(repository: Repository, current: bytes) -> None:
    """The same holds for a digest."""
    digest = digest_of(current)
    assert_condition_failed(put(repository, digest, current, "If-None-Match", "*"))
    assert put(repository, digest, current, "If-Match", f'"{digest}"').status == 201
    update = image(repository.push_blob())
    assert_condition_failed(put(repository, digest_of(update), update, "If-Match", "*"))
    assert put(repository, digest_of(update), update, "If-None-Match", "*").status == 201


def test_a_failed_condition_makes_no_repository(repository: Repository) -> None:
    """In a repository that does not exist nothing matches."""
    assert_condition_failed(put(repository, "v1", b"{}", "If-Match", "*"))
    assert repository.status("tags/list") == 404
    assert put(repository, "v1", b"{}", "If-None-Match", "*").status == 201


def test_a_tag_that_came_back(repository: Repository, current: bytes) -> None:
    """What was deleted does not count as there."""
    assert repository.call("DELETE", "manifests/v1").status == 202
    assert_condition_failed(put(repository, "v1", current, "If-Match", f'"{digest_of(current)}"'))
    assert put(repository, "v1", current, "If-None-Match", "*").status == 201


def test_delete_if_match(repository: Repository, current: bytes) -> None:
    """A tag or a manifest goes only while it is what the client has read."""
    for reference in ("v1", digest_of(current)):
        assert_condition_failed(delete(repository, reference, "If-Match", f'"{ABSENT}"'))
        assert_condition_failed(delete(repository, reference, "If-None-Match", "*"))
        assert repository.status(f"manifests/{reference}") == 200
    assert_condition_failed(delete(repository, "v2", "If-Match", "*"))
    assert delete(repository, "v1", "If-Match", f'"{digest_of(current)}"').status == 202
    assert delete(repository, digest_of(current), "If-Match", "*").status == 202
    assert repository.status(f"manifests/{digest_of(current)}") == 404


@pytest.mark.input(24)
@pytest.mark.parametrize(
    "value", ["", "nonsense", '"unclosed', "W/", '""', ",,,", '"a" "b"', "x" * 60_000, '"a",' * 10_000]
)
def test_what_is_no_entity_tag(repository: Repository, current: bytes, value: str) -> None:
    """It matches nothing: If-Match fails, If-None-Match holds."""
    assert_condition_failed(repository.call("GET", "manifests/v1", ("If-Match", value)))
    assert_condition_failed(put(repository, "v1", current, "If-Match", value))
    assert repository.call("GET", "manifests/v1", ("If-None-Match", value)).status == 200
    assert put(repository, "v1", current, "If-None-Match", value).status == 201


def test_entity_tags_in_several_lines(repository: Repository, current: bytes) -> None:
    """Lines of one header are one list."""
    lines = [("If-None-Match", f'"{ABSENT}"'), ("If-None-Match", f'"{digest_of(current)}"')]
    assert repository.call("GET", "manifests/v1", *lines).status == 304


def test_both_headers(repository: Repository, current: bytes) -> None:
    """If-Match comes first: 412, not 304, when both fail."""
    headers = [("If-Match", f'"{ABSENT}"'), ("If-None-Match", f'"{digest_of(current)}"')]
    assert_condition_failed(repository.call("GET", "manifests/v1", *headers))
    headers[0] = ("If-Match", "*")
    assert repository.call("GET", "manifests/v1", *headers).status == 304

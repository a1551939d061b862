"""What is written down of requests: the log line of each, and counters without names."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.api.conftest import Serve
from tests.api.content import OCI_MANIFEST, Repository, fresh_name
from tests.api.running import RunningServer
from tests.api.wire import Call, head
from tests.waiting import wait_until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Everything that the servers of this process log."""
    with capture_logs() as entries:
        yield entries


def line_of(entries: list[Any], path: str, method: str) -> dict[str, Any]:
    """The line of the request; it is written after the answer was sent."""

    def find() -> list[dict[str, Any]]:
        return [one for one in entries if one["event"] == "request" and (one["path"], one["method"]) == (path, method)]

    wait_until(lambda: bool(find()), f"the log line of {method} {path}")
    (found,) = find()
    return found


def test_the_line_of_a_push(repository: Repository, logged: list[Any]) -> None:
    """A line says who did what, with how many bytes, and joins the client's trace."""
    location = repository.start()
    reply = repository.server.call(
        "PATCH",
        location,
        ("User-Agent", "docker/28"),
        ("Content-Range", "0-6"),
        ("Traceparent", TRACEPARENT),
        body=b"content",
    )
    line = line_of(logged, location, "PATCH")
    assert line["milliseconds"] > 0
    expected = {
        "status": 202,
        "received": 7,
        "sent": 0,
        "client": "127.0.0.1",
        "user_agent": "docker/28",
        "request_id": reply["X-Request-ID"],
        "content_range": "0-6",
        "traceparent": TRACEPARENT,
        "actor": "anonymous",
        "query": "",
    }
    assert expected.items() <= line.items()
    assert "range" not in line


def test_the_line_of_a_pull(repository: Repository, logged: list[Any]) -> None:
    """A line has the answer's media type, its bytes, and the range that was asked for."""
    content = repository.push_image("v1")
    path = f"/v2/{repository.name}/manifests/v1"
    repository.server.call("GET", f"{path}?ns=docker.io", ("Range", "bytes=0-1"))
    repository.server.call("HEAD", path)
    line = line_of(logged, path, "GET")
    expected = {
        "status": 200,
        "sent": len(content),
        "received": 0,
        "media_type": OCI_MANIFEST,
        "range": "bytes=0-1",
        "query": "ns=docker.io",
    }
    assert expected.items() <= line.items()
    assert line_of(logged, path, "HEAD")["sent"] == 0


def test_the_line_of_hostile_text(server: RunningServer, logged: list[Any]) -> None:
    """No request writes lines of its own, commands for a terminal, or without end."""
    path = "/v2/%0a%1b[31m" + "a" * 5_000
    server.call("GET", path, ("User-Agent", "x" * 5_000), ("Range", "y" * 5_000), ("Traceparent", "z" * 5_000))
    wait_until(lambda: bool(logged), "a log line")
    (line,) = logged
    assert line["status"] == 400
    assert not re.search(r"[\x00-\x1f]", line["path"])
    assert len(str(line)) < 4_000


def test_the_line_of_a_client_that_vanishes(repository: Repository, logged: list[Any]) -> None:
    """A client that goes away in the middle is 499: neither its success nor our failure."""
    location = repository.start()
    with repository.server.connect() as connection:
        call = Call("PATCH", location, [("Content-Length", "1000")])
        connection.write(head(call, repository.server.port) + b"only this")
        wait_until(repository.server.has_writer, "the server writes")
        connection.abort()
        line = line_of(logged, location, "PATCH")
    assert (line["status"], line["sent"]) == (499, 0)


@pytest.mark.input(12)
@pytest.mark.parametrize(
    ("proxies", "header", "client"),
    [
        ("", "10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("127.0.0.0/8", "1.2.3.4, 10.0.0.1", "10.0.0.1"),
        ("127.0.0.0/8,10.0.0.0/8", "1.2.3.4, 10.0.0.1", "1.2.3.4"),
        ("192.168.0.0/16", "10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
    ],
)
def test_the_address_of_the_client(serve: Serve, logged: list[Any], proxies: str, header: str, client: str) -> None:
    """X-Forwarded-For is believed from listed proxies only, and only as far as they go."""
    server = serve(anonymous="push", trusted_proxies=proxies)
    path = f"/v2/{fresh_name()}/tags/list"
    server.call("GET", path, *([("X-Forwarded-For", header)] if header else []))
    assert line_of(logged, path, "GET")["client"] == client


def test_metrics_name_no_repository(repository: Repository) -> None:
    """Counters count by method, kind of endpoint and status; names never become labels."""
    repository.push_image("v1")
    repository.server.call("GET", f"/v2/{repository.name}/{repository.name}/{repository.name}")
    text = repository.server.call("GET", "/metrics").body.decode()
    assert repository.name.partition("/")[0] not in text
    assert 'entrepot_requests_total{method="PUT",route="manifest",status="201"}' in text
    assert re.search(r'entrepot_received_bytes_total\{route="uploads"\} [1-9]', text)


def test_requests_in_progress(serve: Serve) -> None:
    """They are counted from their head to the end of their answer, with the one that asks."""
    server = serve()

    def are_in_progress(count: int) -> bool:
        return f"entrepot_requests_in_progress {count}.0\n" in server.call("GET", "/metrics").body.decode()

    name = fresh_name()
    location = server.call("POST", f"/v2/{name}/blobs/uploads/")["Location"]
    with server.connect() as connection:
        connection.write(head(Call("PATCH", location, (("Content-Length", "7"),)), server.port))
        wait_until(lambda: are_in_progress(2), "the upload and the question")
        connection.write(b"content")
        assert connection.read("PATCH").status == 202
        wait_until(lambda: are_in_progress(1), "the question only")


def test_request_ids_are_different(server: RunningServer) -> None:
    """Each answer has its own, and none that the client invented."""
    own = [server.call("GET", "/v2/", ("X-Request-ID", "mine"))["X-Request-ID"] for _ in range(3)]
    assert len(set(own)) == 3
    assert "mine" not in own


def test_what_is_no_http_has_no_line(serve: Serve, logged: list[Any]) -> None:
    """Docker tries TLS before plain HTTP, each time: it is refused and counted, and the log stays readable."""
    server = serve(edge="on")
    with server.connect() as connection:
        connection.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        assert connection.read_to_end().startswith(b"HTTP/1.1 400 ")
    path = f"/v2/{fresh_name()}/tags/list"
    server.call("GET", path)
    line_of(logged, path, "GET")
    assert [one["path"] for one in logged if one["event"] == "request"] == [path]
    assert b'{method="GET",route="other",status="400"} 1.0' in server.call("GET", "/metrics").body

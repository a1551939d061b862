"""Rights that end while a body is on its way."""

import socket
from collections.abc import Callable

import pytest

from registry.metadata.identities import Kind
from tests.access.login import ADMIN, House, basic
from tests.access.test_revocation import disable, remove
from tests.api.content import digest_of


def remove_user(house: House, name: str) -> None:
    remove(house, name, Kind.USER)


@pytest.mark.parametrize("end", [disable, remove_user])
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v2/acme/slow/manifests/v1"), ("POST", f"/v2/acme/slow/blobs/uploads/?digest={digest_of(b'slow!')}")],
)
def test_a_slow_body_carries_no_right(house: House, method: str, path: str, end: Callable[[House, str], None]) -> None:
    """A request that was let in is refused when its right ends before its body has come, and nothing is stored."""
    name = house.add_user(("acme/*", "pull,push"))
    head = (f"{method} {path} HTTP/1.1", "Host: x", ": ".join(basic(name)), "Content-Length: 5", "Expect: 100-continue")
    with socket.create_connection(("127.0.0.1", house.port), 10) as connection:
        connection.sendall("\r\n".join((*head, "", "")).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # let in: the server waits for the body
        end(house, name)
        connection.sendall(b"slow!")
        assert connection.recv(100).startswith(b"HTTP/1.1 401")
    assert house.call("GET", "/v2/acme/slow/tags/list", basic(ADMIN)).status == 404

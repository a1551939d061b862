"""Headers that say where a request comes from and where it went to, whatever is in them."""

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request

from registry.api.origin import client_address, comes_from_this_machine, find_host, refuse_malformed
from registry.errors import ExpectationFailed, RequestInvalid

PEER = "10.0.0.1"
PROXIES = [ipaddress.ip_network("10.0.0.0/8")]
# What HTTP's parser lets through as a header's value.
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


def request_with(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "http_version": "1.1", "headers": raw, "client": (PEER, 1)})


@given(VALUES | st.text("[]:.0123456789abcfx-_/@ ", max_size=25))
@example("localhost:5000")
@example("[::1]:5000")
@example("localhost\xa0")
@example("a" * 254)
def test_any_host(value: str) -> None:
    """A host is a name or an address with perhaps a port; what can be said with it needs no escaping anywhere."""
    try:
        host = find_host(request_with(("Host", value)))
    except RequestInvalid:
        return
    assert host == value
    assert re.fullmatch(r"[A-Za-z0-9._:\[\]-]{1,261}", host, re.ASCII)


@given(
    st.lists(VALUES | st.sampled_from([PEER, "10.9.9.9", "192.0.2.1", "::1", "unknown", "192.0.2.1:80"]), max_size=4)
)
@example(["192.0.2.1, 10.0.0.2"])
@example([",,,"])
@example(["10.0.0.2", "\xb2"])
def test_any_forwarded_addresses(values: list[str]) -> None:
    """The client's address is an address, and one that a trusted proxy has named."""
    named = {hop.strip() for value in values for hop in value.split(",")}
    found = client_address(request_with(*(("X-Forwarded-For", value) for value in values)), PROXIES)
    assert found == PEER or ipaddress.ip_address(found) in {
        ipaddress.ip_address(one) for one in named if is_address(one)
    }
    assert client_address(request_with(*(("X-Forwarded-For", value) for value in values)), ()) == PEER


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


NAMES = st.sampled_from(["Host", "Origin", "Sec-Fetch-Site", "Expect", "Transfer-Encoding", "Forwarded", "Via"])


@given(st.lists(st.tuples(NAMES, VALUES | st.sampled_from(["localhost", "http://[", "chunked"])), max_size=4))
def test_any_headers(headers: list[tuple[str, str]]) -> None:
    """They are understood or refused; nothing makes a stranger a program on this machine."""
    request = request_with(*headers)
    try:
        refuse_malformed(request)
    except (RequestInvalid, ExpectationFailed) as problem:
        assert problem.status in {400, 417}  # noqa: PT017 - both ends are right
    assert not comes_from_this_machine(request), "the address is another one's"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5000"])
def test_what_is_this_machine(host: str) -> None:
    """Without any of that, and from loopback, it is."""
    request = request_with(("Host", host))
    request.scope["client"] = ("127.0.0.1", 1)
    assert comes_from_this_machine(request)

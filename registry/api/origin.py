"""Where a request comes from and which name it was sent to, as far as anybody can be believed."""

import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request

from registry.errors import ExpectationFailed, RequestInvalid
from registry.identity import parse_address

Networks: TypeAlias = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)
# How the names of headers that proxies add begin or end.
_FORWARDING = ("forwarded", "via", "x-real-ip", "x-forwarded", "x-original-", "x-envoy-", "cf-")
_FORWARDED_ADDRESS = ("client-ip", "connecting-ip")


def client_address(request: Request, trusted_proxies: Networks) -> str:
    """The address of the client: the last one in X-Forwarded-For that no trusted proxy has."""
    peer = _plain(request.client.host) if request.client else ""
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    while hops and is_within(peer, trusted_proxies) and parse_address(hops[-1]):
        peer = _plain(hops.pop())
    return peer


def is_within(address: str, networks: Networks) -> bool:
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def is_loopback(host: str) -> bool:
    """Whether a host, as a Host header or a command line names it, can only be this machine."""
    if host.lower() == "localhost":
        return True
    parsed = parse_address(host.strip("[]"))
    return parsed is not None and parsed.is_loopback


def is_passed_on(request: Request) -> bool:
    """Whether a proxy seems to have sent this: no client of a registry speaks HTTP/1.0, but nginx does by default."""
    return request.scope["http_version"] == "1.0" or any(map(_is_forwarding, request.headers))


def comes_from_this_machine(request: Request) -> bool:
    """Whether nobody elsewhere can have sent this: no web page and no proxy on this machine passed it on."""
    return (
        request.client is not None
        and is_loopback(request.client.host)
        and is_loopback(_host_name(request))
        and not is_passed_on(request)
        and not _is_foreign_page(request)
    )


def find_host(request: Request) -> str:
    """The Host header, with its port. Raises RequestInvalid."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        text = "a request has exactly one Host header, with a name and perhaps a port"
        raise RequestInvalid(text, headers={"Connection": "close"})
    return hosts[0]


def refuse_malformed(request: Request) -> None:
    """Raises RequestInvalid for what two readers could understand in two ways, ExpectationFailed."""
    find_host(request)
    if any(value.strip().lower() != "100-continue" for value in request.headers.getlist("expect")):
        raise ExpectationFailed
    if any(not _LENGTH.fullmatch(value) for value in request.headers.getlist("content-length")):
        raise RequestInvalid("Content-Length is a number of bytes", headers={"Connection": "close"})
    codings = ",".join(request.headers.getlist("transfer-encoding"))
    if codings and codings.strip().lower() != "chunked":
        # The parser undoes chunked and hands over what it does not understand as if it were the content.
        raise RequestInvalid("the only transfer coding is chunked", headers={"Connection": "close"})


def _host_name(request: Request) -> str:
    """The name in the Host header, without the port; nothing when the header is malformed or missing."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return match[1] if match else ""


def _plain(text: str) -> str:
    return str(parse_address(text) or text)


def _is_forwarding(header: str) -> bool:
    return header.startswith(_FORWARDING) or header.endswith(_FORWARDED_ADDRESS)


def _is_foreign_page(request: Request) -> bool:
    """Whether a browser says that a page from elsewhere sends this; a page may POST without asking first."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("origin")
    try:
        return origin is not None and not is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return True

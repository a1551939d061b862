"""Who asks, and whether they may: plain functions on what the request says, before anything is looked up."""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from registry.auth import Action, AnonymousAccess, is_allowed
from registry.errors import Denied, RequestInvalid, Unauthorized
from registry.identity import Actor

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)
_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_CHALLENGE = 'Basic realm="Entrepot"'


class Guard:
    """`trusted_proxies`: addresses and networks whose X-Forwarded-For is believed."""

    def __init__(self, access: AnonymousAccess, trusted_proxies: Sequence[str] = ()) -> None:
        self._access = access
        self._proxies = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]

    def admit(self, request: Request, action: Action, request_id: str) -> Actor:
        """The actor of an allowed request. Raises RequestInvalid, Denied, Unauthorized.

        There are no users yet, so credentials are not looked at: `Bearer QQ==`, which some clients always send, and
        any password are as good as none.
        """
        host = _host(request)
        if self._access is AnonymousAccess.PROTECTED:
            _refuse_foreign(request, host)
        if not is_allowed(self._access, action):
            raise Unauthorized(_CHALLENGE)
        return Actor("anonymous", self.client_address(request), request_id)

    def client_address(self, request: Request) -> str:
        """The address of the client: the last one in X-Forwarded-For that no trusted proxy has."""
        peer = request.client.host if request.client else ""
        hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
        while hops and self._is_trusted(peer):
            peer = hops.pop()
        return peer

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in proxy for proxy in self._proxies)


def is_loopback(host: str) -> bool:
    """Whether a host, as a Host header or a command line names it, can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host(request: Request) -> str:
    hosts = request.headers.getlist("host")
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None:
        raise RequestInvalid("a request has exactly one Host header, with a name and perhaps a port")
    return match[1]


def _refuse_foreign(request: Request, host: str) -> None:
    """A web page or a proxy on this machine must not open to others what loopback was meant to protect."""
    if _is_foreign_page(request) or not is_loopback(host) or any(name in request.headers for name in _FORWARDING):
        raise Denied(
            "protected mode: without users the registry serves only this machine, asked for as localhost or 127.0.0.1."
            " Say what strangers may do with ENTREPOT_ANONYMOUS=pull or push to serve others"
        )


def _is_foreign_page(request: Request) -> bool:
    """Whether a browser says that a page from elsewhere sends this; a page may POST without asking first."""
    origin = request.headers.get("origin")
    try:
        return origin is not None and not is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return True

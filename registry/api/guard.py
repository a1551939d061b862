"""Who asks, and whether they may: plain functions on what the request says, before anything is looked up."""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from registry.auth import Action, AnonymousAccess, is_allowed
from registry.errors import Denied, RequestInvalid, Unauthorized

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)
# How the names of headers that proxies add begin or end.
_FORWARDING = ("forwarded", "via", "x-real-ip", "x-forwarded", "x-original-", "x-envoy-", "cf-")
_FORWARDED_ADDRESS = ("client-ip", "connecting-ip")
_CHALLENGE = 'Basic realm="Entrepot"'


class Guard:
    """`trusted_proxies`: addresses and networks whose X-Forwarded-For is believed."""

    def __init__(
        self, access: AnonymousAccess, trusted_proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()
    ) -> None:
        self._access = access
        self._proxies = trusted_proxies

    def admit(self, request: Request, action: Action) -> None:
        """Let an allowed request pass. Raises RequestInvalid, Denied, Unauthorized.

        There are no users yet, so credentials are not looked at: `Bearer QQ==`, which some clients always send, and
        any password are as good as none.
        """
        _refuse_malformed(request)
        if self._access is AnonymousAccess.PROTECTED and not comes_from_this_machine(request):
            raise Denied(
                "protected mode: without users the registry serves only this machine, asked for as localhost or"
                " 127.0.0.1. To serve others say what strangers may do: ENTREPOT_ANONYMOUS=pull or push"
            )
        if not is_allowed(self._access, action):
            self._refuse(request)

    def client_address(self, request: Request) -> str:
        """The address of the client: the last one in X-Forwarded-For that no trusted proxy has."""
        peer = request.client.host if request.client else ""
        hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
        while hops and self._is_trusted(peer) and _is_address(hops[-1]):
            peer = hops.pop()
        return peer

    def _refuse(self, request: Request) -> None:
        refusal = f"callers without credentials may do only this here: {self._access}; and there are no users yet"
        if "authorization" in request.headers:
            raise Denied(refusal)  # another challenge would make the client ask for a password again, for ever
        raise Unauthorized(refusal, _CHALLENGE)

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in proxy for proxy in self._proxies)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, as a Host header or a command line names it, can only be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def comes_from_this_machine(request: Request) -> bool:
    """Whether nobody elsewhere can have sent this: no web page and no proxy on this machine passed it on."""
    return (
        request.client is not None
        and is_loopback(request.client.host)
        and is_loopback(_host(request))
        and request.scope["http_version"] != "1.0"  # no client of a registry speaks it, but nginx does by default
        and not any(map(_is_forwarding, request.headers))
        and not _is_foreign_page(request)
    )


def _refuse_malformed(request: Request) -> None:
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise RequestInvalid("a request has exactly one Host header, with a name and perhaps a port")
    codings = ",".join(request.headers.getlist("transfer-encoding"))
    if codings and codings.strip().lower() != "chunked":
        # The parser undoes chunked and hands over what it does not understand as if it were the content.
        raise RequestInvalid("the only transfer coding is chunked", headers={"Connection": "close"})


def _host(request: Request) -> str:
    """The name in the Host header, without the port; nothing when the header is malformed or missing."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return match[1] if match else ""


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

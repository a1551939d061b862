"""Which clients may be sent to the blob store for a blob: those that will be served there as they would be here."""

from urllib.parse import urlsplit

from starlette.requests import Request

from registry.api.call import Call
from registry.api.observe import Record
from registry.api.origin import is_loopback
from registry.identity import parse_address


def may_repeat(request: Request) -> bool:
    """Whether the request means the same at a store: several ranges and our entity tags do not."""
    return "," not in ",".join(request.headers.getlist("range")) and "if-range" not in request.headers


def can_follow(call: Call, url: str) -> bool:
    """Whether the client reaches the store at `url`, and does not bring it the registry's credentials.

    A store that gets a token beside the signature of the URL answers 400. Newer clients send it to the same host name
    on another port, and those in Go to the names below it as well.
    """
    store = _host_of(url)
    record: Record = call.request.scope["entrepot.record"]
    if is_loopback(store) and not is_loopback(record.client):
        return False
    return not any(store == name or _is_below(store, name) for name in _names_asked(call))


def _names_asked(call: Call) -> list[str]:
    """Under which names the client may know us. A proxy in front can have changed Host; nobody need be believed."""
    hosts = [line for name in ("host", "x-forwarded-host") for line in call.request.headers.getlist(name)]
    urls = [f"//{host.strip()}" for line in hosts for host in line.split(",")]
    return [name for url in (*urls, call.public_url) if (name := _host_of(url))]


def _host_of(url: str) -> str:
    """In small letters, nothing when the URL has none that can be read."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_below(name: str, parent: str) -> bool:
    return name.endswith(f".{parent}") and parse_address(parent) is None

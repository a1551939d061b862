"""The Authorization header: Basic (RFC 7617) or Bearer (RFC 6750), read strictly."""

import base64
import binascii

from starlette.requests import Request

from registry.auth import Basic, Bearer, Credentials
from registry.errors import RequestInvalid

_LONGEST = 32 << 10  # characters: room for an id token as a password
# What Homebrew always sends where it has no credentials; no token of ours could look like it.
_NO_TOKEN = "QQ=="  # noqa: S105 - the base64 of A


class CredentialsInvalid(Exception):
    """The message says what they should look like."""


def parse_credentials(request: Request) -> Credentials | None:
    """None without the header. Raises RequestInvalid, CredentialsInvalid."""
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise RequestInvalid("a request has at most one Authorization header")
    if not headers:
        return None
    scheme, _, text = headers[0].partition(" ")
    text = text.strip(" ")
    if scheme.lower() == "bearer" and text and len(text) <= _LONGEST:
        return None if text == _NO_TOKEN else Bearer(text)
    if scheme.lower() == "basic" and len(text) <= _LONGEST:
        return _parse_basic(text)
    raise CredentialsInvalid("the Authorization header is Basic or Bearer, with credentials")


def _parse_basic(text: str) -> Basic:
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise CredentialsInvalid("Basic credentials are the base64 of <name>:<password> in UTF-8") from None
    name, colon, password = decoded.partition(":")
    if not (name and colon and password) or "\0" in decoded:
        raise CredentialsInvalid("Basic credentials have a name, a colon and a password")
    return Basic(name, password)

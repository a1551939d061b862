"""What a refused client is told to do: fetch a token, and where (docker's token specification, RFC 6750)."""

import structlog
from starlette.requests import Request

from registry.api.origin import Networks, find_host, is_passed_on, is_within

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_REALM = "Entrepot"
BASIC = f'Basic realm="{_REALM}"'


class Challenger:
    """`public_url` is where clients reach the registry; unset, it is where the request says that it went."""

    def __init__(self, public_url: str, trusted_proxies: Networks) -> None:
        self._public_url = public_url
        self._proxies = trusted_proxies
        self._has_warned = False

    def make(self, request: Request, service: str, scope: str = "", error: str = "", description: str = "") -> str:
        """The value of WWW-Authenticate. Every member is quoted: some clients read it with a pattern.

        Where there is an error, docker shows its description in place of the body's message. It has no quotes in it.

        A client sends its password to the realm. So where a proxy stands in front that nobody told us of, and we
        cannot know whether clients reach it by TLS, they are asked to send it where they sent the request: Basic.
        """
        url = self._public_url or self._find_url(request)
        if not url:
            self._warn()
            return BASIC
        members = {"realm": f"{url}/token", "service": service, "scope": scope, "error": error}
        members["error_description"] = description if error else ""
        return "Bearer " + ",".join(f'{name}="{value}"' for name, value in members.items() if value)

    def _find_url(self, request: Request) -> str:
        scheme: str = request.scope["scheme"]
        if request.client is not None and is_within(request.client.host, self._proxies):
            told = request.headers.get("x-forwarded-proto", "")
            if told not in ("http", "https"):
                return ""
            scheme = told
        elif is_passed_on(request):
            return ""
        return f"{scheme}://{find_host(request)}"

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "public URL unknown: set ENTREPOT_PUBLIC_URL, or docker cannot pull anonymously through a proxy"
            )

"""The one renderer of errors: the spec's JSON body, whatever was raised wherever."""

import json

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from registry.api.observe import Record
from registry.errors import EndpointUnknown, InternalError, MethodNotAllowed, RegistryError

_MOST_ECHOED = 256


def render(error: RegistryError) -> Response:
    body = json.dumps({"errors": [_shortened(entry) for entry in error.errors()]})
    return Response(body, error.status, error.headers, media_type="application/json")


async def on_registry_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RegistryError):
        raise error
    record: Record = request.scope["entrepot.record"]
    record.refusal = error.text
    return render(error)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Starlette's own refusals, from the routes outside the distribution API."""
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
    is_method = isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status
    return render(MethodNotAllowed(allowed.split(", ")) if is_method else EndpointUnknown())


async def on_unexpected(_request: Request, _error: Exception) -> Response:
    """A bug of ours: the log has the traceback, the client a body that it can read."""
    return render(InternalError(headers={"Connection": "close"}))  # the server ends it; the client should know


def _shortened(entry: dict[str, object]) -> dict[str, object]:
    """What an error repeats of the request must not be a way to make the answer large."""
    detail = entry.get("detail")
    if not isinstance(detail, dict):
        return entry
    return entry | {"detail": {k: v[:_MOST_ECHOED] if isinstance(v, str) else v for k, v in detail.items()}}

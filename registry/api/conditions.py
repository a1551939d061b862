"""The conditions that a request makes (RFC 9110, section 13)."""

from starlette.requests import Request

from registry.errors import ConditionFailed
from registry.oci.preconditions import Preconditions, parse_entity_tags


def preconditions(request: Request) -> Preconditions:
    match, none_match = request.headers.getlist("if-match"), request.headers.getlist("if-none-match")
    return Preconditions(
        parse_entity_tags(",".join(match), is_strong=True) if match else None,
        parse_entity_tags(",".join(none_match)) if none_match else None,
    )


def is_unchanged(request: Request, digest: str) -> bool:
    """Whether a GET is answered 304, because the client has what the digest names. Raises ConditionFailed."""
    conditions = preconditions(request)
    if not conditions.allow_match(digest):
        raise ConditionFailed
    return not conditions.hold(digest)

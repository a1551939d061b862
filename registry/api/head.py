"""How large the head of a request may be, whichever server has read it."""

from dataclasses import dataclass

from starlette.types import Scope

from registry.errors import HeadersTooLarge, PathTooLong


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bytes of the path and its query, and of names and values of all headers together; and how many these are."""

    target_bytes: int = 16 << 10  # the tags of a PUT are in its query
    header_bytes: int = 64 << 10  # an id token as a password may have half of it
    header_count: int = 100

    def judge(self, scope: Scope) -> None:
        """Raises PathTooLong, HeadersTooLarge. Our own edge has refused such a request before it was all here."""
        headers = scope["headers"]
        query = scope["query_string"]
        if len(scope["raw_path"]) + (1 + len(query) if query else 0) > self.target_bytes:
            raise PathTooLong
        if (
            len(headers) > self.header_count
            or sum(len(name) + len(value) for name, value in headers) > self.header_bytes
        ):
            raise HeadersTooLarge

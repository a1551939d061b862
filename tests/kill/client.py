"""An HTTP client that knows whether a request was answered, may have been received, or was never sent."""

import contextlib
import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SECONDS = 60


class Unanswered(Exception):
    """The connection broke: the server may have done what was asked, or not."""


class Unreachable(Exception):
    """Nobody listens: the request was not sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


class Client:
    """One connection to the server, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)

    def call(
        self,
        method: str,
        path: str,
        content: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; bytes go with a Content-Length, pieces with chunked transfer coding."""
        self._connect()
        try:
            is_chunked = not isinstance(content, bytes)
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError
            ):  # the server may have answered before it had read all
                self._connection.request(method, path, content, dict(headers or {}), encode_chunked=is_chunked)
            response = self._connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unanswered(f"{method} {path}: {error!r}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _connect(self) -> None:
        if self._connection.sock is None:
            try:
                self._connection.connect()
            except ConnectionError as error:
                raise Unreachable(str(error)) from error

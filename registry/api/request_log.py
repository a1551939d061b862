"""Where the lines of requests go. What is here loads no server: the command line sets the log up, too."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BILLION = 1_000_000_000


class WriteLine(Protocol):
    def __call__(self, milliseconds: float, request_id: str) -> None: ...


class RequestLog(Protocol):
    def prepare(self, fields: Mapping[str, object], *, is_failure: bool) -> WriteLine:
        """What writes lines that all have these fields."""


class StructuredLog:
    """As everything else that is logged."""

    def __init__(self) -> None:
        self._log = log.bind()  # once: to find out how it is set up takes as long as to write a line

    def prepare(self, fields: Mapping[str, object], *, is_failure: bool) -> WriteLine:
        tell = self._log.error if is_failure else self._log.info

        def write(milliseconds: float, request_id: str) -> None:
            tell("request", **fields, milliseconds=milliseconds, request_id=request_id)

        return write


class Stamp:
    """Adds the time, as structlog's own stamper does; what is the same within a second is written once."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now  # nanoseconds since 1970
        self._known = -1, ""  # a second, and how it is written; in one, because threads log, too

    def __call__(self, _logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["timestamp"] = self.write()
        return event

    def write(self) -> str:
        """The time of now."""
        second, rest = divmod(self._now(), _BILLION)
        known, text = self._known
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._known = second, text
        return f"{text}.{rest // 1000:06d}Z"


class Batch:
    """The lines of requests as JSON, those of one turn of the event loop in one write. To be used from that loop.

    What such lines have in common is rendered once, as structlog's renderer does it.
    """

    def __init__(self, write: Callable[[str], object], now: Callable[[], int]) -> None:
        self._write = write
        self._stamp = Stamp(now)
        self._lines: list[str] = []

    def prepare(self, fields: Mapping[str, object], *, is_failure: bool) -> WriteLine:
        begin = json.dumps(fields)[:-1]
        middle = f'", "event": "request", "level": "{"error" if is_failure else "info"}", "timestamp": "'

        def write(milliseconds: float, request_id: str) -> None:
            if not self._lines:
                asyncio.get_running_loop().call_soon(self.flush)
            end = f'{request_id}{middle}{self._stamp.write()}"}}\n'
            self._lines.append(f'{begin}, "milliseconds": {milliseconds}, "request_id": "{end}')

        return write

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        self._write("".join(lines))

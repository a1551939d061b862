"""Structured logs on standard error: one JSON object a line, or text for a person at a terminal."""

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TextIO

import msgspec
import structlog

from registry.api.observe import RequestLog, StructuredLog, WriteLine

_BILLION = 1_000_000_000
_encode = msgspec.json.Encoder(enc_hook=repr).encode


def configure(log_format: str) -> None:
    """`log_format` is json, text, or auto: text on a terminal, JSON elsewhere. Uvicorn's messages go the same way."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    render: structlog.typing.Processor = _for_a_person if is_text else structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        Stamp(time.time_ns),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _for_a_person if is_text else for_a_program],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    foreign = logging.StreamHandler(sys.stderr)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[foreign], level=logging.WARNING, force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every client that tries TLS first


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
    """The lines of requests, for programs, as `for_a_program` writes them: those of one turn of the event loop at once.

    What such lines have in common is rendered once.
    """

    def __init__(self, write: Callable[[str], object], now: Callable[[], int]) -> None:
        self._write = write
        self._stamp = Stamp(now)
        self._lines: list[str] = []

    def prepare(self, fields: Mapping[str, object], *, is_failure: bool) -> WriteLine:
        begin = for_a_program(None, "", dict(fields))[:-1]
        middle = f'","event":"request","level":"{"error" if is_failure else "info"}","timestamp":"'

        def write(milliseconds: float, request_id: str) -> None:
            if not self._lines:
                asyncio.get_running_loop().call_soon(self.flush)
            self._lines.append(
                f'{begin},"milliseconds":{milliseconds},"request_id":"{request_id}{middle}{self._stamp.write()}"}}\n'
            )

        return write

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        self._write("".join(lines))


def make_request_log() -> RequestLog:
    """As `configure` was told."""
    if structlog.get_config()["processors"][-1] is for_a_program:
        return Batch(partial(_write_at_once, sys.stderr), time.time_ns)
    return StructuredLog()


def _write_at_once(file: TextIO, content: str) -> None:
    file.write(content)
    file.flush()


def for_a_program(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    """One JSON object in ASCII: what else a terminal might obey is escaped, and so are halves of surrogates."""
    with contextlib.suppress(UnicodeEncodeError):
        line = _encode(event)
        if line.isascii():
            return line.decode()
    return json.dumps(event, default=repr)


def _for_a_person(logger: object, name: str, event: structlog.typing.EventDict) -> str | bytes:
    """One short line for a request, with what one looks for first in front; the rest is in the JSON form."""
    if event["event"] != "request":
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        return structlog.dev.ConsoleRenderer(colors=colors)(logger, name, event)
    query = f"?{event['query']}" if event["query"] else ""
    refusal = f"  {event['refusal']}" if "refusal" in event else ""
    return (
        f"{event['timestamp'][11:19]}  {event['status']} {event['method']:<6} {event['path']}{query}"
        f"  {event['milliseconds']:.0f} ms  {event['received']} B in  {event['sent']} B out  {event['client']}{refusal}"
    )

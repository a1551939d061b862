"""Structured logs on standard error: one JSON object a line, or text for a person at a terminal."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable

import msgspec
import structlog

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
        logger_factory=(
            structlog.WriteLoggerFactory(sys.stderr) if is_text else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
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
        self._second = -1
        self._text = ""

    def __call__(self, _logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        second, rest = divmod(self._now(), _BILLION)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        event["timestamp"] = f"{self._text}.{rest // 1000:06d}Z"
        return event


def for_a_program(_logger: object, _name: str, event: structlog.typing.EventDict) -> bytes:
    """One JSON object in ASCII: what else a terminal might obey is escaped, and so are halves of surrogates."""
    try:
        line = _encode(event)
    except UnicodeEncodeError:
        line = b"\xff"
    return line if line.isascii() else json.dumps(event, default=repr).encode()


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

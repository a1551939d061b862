"""Structured logs on standard error: one JSON object a line, or text for a person at a terminal."""

import contextlib
import logging
import os
import sys
import time
from typing import TextIO, cast

import structlog

from registry.api.request_log import Batch, RequestLog, Stamp, StructuredLog


def configure(log_format: str) -> RequestLog:
    """`log_format` is json, text, or auto: text on a terminal, JSON elsewhere. Uvicorn's messages go the same way.

    Returns where the lines of requests go.
    """
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    render: structlog.typing.Processor = _for_a_person if is_text else structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        Stamp(time.time_ns),
        structlog.processors.format_exc_info,
    ]
    output = Output(sys.stderr)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),
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
    return StructuredLog() if is_text else Batch(output.write, time.time_ns)


class Output:
    """A file with a line for each write. Where nobody reads it any more, or its disk is full, nothing ends for that."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, lines: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(lines)
            self._file.flush()

    def flush(self) -> None:
        """All is written already."""


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

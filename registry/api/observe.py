"""What is written down of every request: one log line, and counters whose labels are closed sets."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import unquote_plus

from starlette.datastructures import Headers
from starlette.types import Scope

from registry.api.request_log import RequestLog, WriteLine
from registry.api.tallies import Tallies, Tally

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_FAILURES = range(500, 600)
# The parameters that the API knows. What else stands in a query may be a secret that somebody put there.
_SHOWN = frozenset(
    {
        "n", "last", "digest", "digest-algorithm", "mount", "from", "origin", "tag", "artifacttype", "ns",
        "service", "scope", "account", "client_id", "offline_token",
    }
)  # fmt: skip
_SEPARATORS = re.compile(r"([&;?])")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", ""})  # the last of what is no HTTP: clients try TLS first


@dataclass(slots=True)
class Record:
    """One request as it happens. `received` and `sent` are bytes of bodies; `route` is a closed set of names.

    `is_counted`: it has taken its share of what the caller may ask for in a second. `refusal` is what the client was
    told of an error.

    `may_repeat`: the same request has the same answer until `holds_until` (Unix milliseconds), as long as the database
    is as it is; `effects` are what each repeat does besides.
    """

    request_id: str
    started: float = field(default_factory=monotonic)
    route: str = "other"
    actor: str = "anonymous"
    client: str = ""
    status: int = 499  # the client went away before it got an answer
    media_type: str = ""
    received: int = 0
    sent: int = 0
    has_whole_body: bool = False
    has_answer: bool = False
    is_counted: bool = False
    refusal: str = ""
    may_repeat: bool = False
    holds_until: int = 0
    effects: list[Callable[[], object]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """What is noted of a request, but for its id and its time; without `write` it is only counted."""

    tally: Tally
    received: int
    sent: int
    write: WriteLine | None

    def note(self, started: float, request_id: str) -> None:
        """`started` as `monotonic` has it."""
        seconds = monotonic() - started
        self.tally.add(seconds, self.received, self.sent)
        if self.write is not None:
            self.write(round(seconds * 1000, 3), request_id)


class Observer:
    """Counts requests, and logs those that are finished."""

    def __init__(self, request_log: RequestLog) -> None:
        self.tallies = Tallies()
        self._log = request_log

    def begin(self, request_id: str, client: str) -> Record:
        """To be finished, whatever becomes of it."""
        self.tallies.in_progress += 1
        return Record(request_id, client=client)

    def finish(self, scope: Scope, record: Record) -> Line:
        """Returns what was noted, for those that come again."""
        try:
            line = self._make_line(scope, record)
            line.note(record.started, record.request_id)
        finally:
            self.tallies.in_progress -= 1  # last: who sees that nothing is in progress finds all lines
        return line

    def _make_line(self, scope: Scope, record: Record) -> Line:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        tally = self.tallies.find(method, record.route, record.status)
        is_failure = record.status in _FAILURES
        is_quiet = scope["path"] in _QUIET
        write = None if is_quiet else self._log.prepare(_fields(scope, record), is_failure=is_failure)
        return Line(tally, record.received, record.sent, write)

    def repeat(self, line: Line, request_id: str, started: float) -> None:
        """Another request has got the same answer."""
        self.tallies.repeated += 1
        line.note(started, request_id)


def _fields(scope: Scope, record: Record) -> dict[str, object]:
    headers = Headers(scope=scope)
    optional = {
        "range": headers.get("range"),
        "content_range": headers.get("content-range"),
        "traceparent": headers.get("traceparent"),
        "media_type": record.media_type or None,
        "refusal": record.refusal or None,
    }
    return {
        "method": scope["method"][:16],
        "path": _printable(scope["raw_path"].decode("latin-1"), 1024),
        "query": _printable(_without_secrets(scope["query_string"].decode("latin-1")), 1024),
        "status": record.status,
        "received": record.received,
        "sent": record.sent,
        "client": record.client,
        "actor": record.actor,
        "user_agent": _printable(headers.get("user-agent", "")),
        **{name: _printable(value) for name, value in optional.items() if value},
    }


def _without_secrets(query: str) -> str:
    return "".join(_hidden(part) for part in _SEPARATORS.split(query))


def _hidden(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}=***" if equals and unquote_plus(name).lower() not in _SHOWN else part


def _printable(text: str, length: int = 256) -> str:
    """What a terminal shows and does not obey."""
    text = text[:length]
    if text.isascii() and text.isprintable():  # as nearly all are, and quickly known
        return text
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text)

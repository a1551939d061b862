"""What is written down of every request: one log line, and counters whose labels are closed sets."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import unquote_plus

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.types import Scope

log: structlog.stdlib.BoundLogger = structlog.get_logger()

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


class Observer:
    """Counts requests, and logs those that are finished."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._log = log.bind()  # once: to find out how it is set up takes as long as to write a line
        labels = ("method", "route", "status")
        self._requests = Counter("entrepot_requests", "Requests answered", labels, registry=metrics)
        self._seconds = Histogram(
            "entrepot_request_seconds", "Time to the end of the answer", ("method", "route"), registry=metrics
        )
        self._received = Counter("entrepot_received_bytes", "Bytes of request bodies", ("route",), registry=metrics)
        self._sent = Counter("entrepot_sent_bytes", "Bytes of response bodies", ("route",), registry=metrics)
        self._in_progress = Gauge(
            "entrepot_requests_in_progress", "Requests whose answer has not ended", registry=metrics
        )
        self._repeated = Counter(
            "entrepot_repeated_requests", "Requests that were answered as the same request was before", registry=metrics
        )
        self._meters: dict[tuple[str, str, int], _Meters] = {}

    def begin(self, request_id: str, client: str) -> Record:
        """To be finished, whatever becomes of it."""
        self._in_progress.inc()
        return Record(request_id, client=client)

    def finish(self, scope: Scope, record: Record) -> "Line":
        """Returns what was noted, for those that come again."""
        meters = self._find_meters(scope["method"] if scope["method"] in _METHODS else "other", record)
        fields = {} if scope["path"] in _QUIET else _fields(scope, record)
        line = Line(meters, record.status in _FAILURES, record.received, record.sent, fields)
        self._note(line, record.request_id, record.started)
        self._in_progress.dec()
        return line

    def repeat(self, line: "Line", request_id: str, started: float) -> None:
        """Another request has got the same answer; `started` as `monotonic` has it."""
        self._repeated.inc()
        self._note(line, request_id, started)

    def _note(self, line: "Line", request_id: str, started: float) -> None:
        seconds = monotonic() - started
        line.meters.requests.inc()
        line.meters.seconds.observe(seconds)
        line.meters.received.inc(line.received)
        line.meters.sent.inc(line.sent)
        if line.fields:
            tell = self._log.error if line.is_failure else self._log.info
            tell("request", **line.fields, milliseconds=round(seconds * 1000, 3), request_id=request_id)

    def _find_meters(self, method: str, record: Record) -> "_Meters":
        """Looked up by their labels once: that takes longer than counting."""
        key = method, record.route, record.status
        if key not in self._meters:
            self._meters[key] = _Meters(
                self._requests.labels(method, record.route, str(record.status)),
                self._seconds.labels(method, record.route),
                self._received.labels(record.route),
                self._sent.labels(record.route),
            )
        return self._meters[key]


@dataclass(frozen=True, slots=True)
class _Meters:
    """Of the requests of one method, route and status."""

    requests: Counter
    seconds: Histogram
    received: Counter
    sent: Counter


@dataclass(frozen=True, slots=True)
class Line:
    """What is noted of a request, but for its id and its time. Without `fields` it is only counted."""

    meters: _Meters
    is_failure: bool
    received: int
    sent: int
    fields: dict[str, object]


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

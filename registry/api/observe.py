"""What is written down of every request: one log line, and counters whose labels are closed sets."""

import re
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


class Observer:
    """Counts requests, and logs those that are finished."""

    def __init__(self, metrics: CollectorRegistry) -> None:
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
        self._meters: dict[tuple[str, str, int], _Meters] = {}

    def begin(self, request_id: str, client: str) -> Record:
        """To be finished, whatever becomes of it."""
        self._in_progress.inc()
        return Record(request_id, client=client)

    def finish(self, scope: Scope, record: Record) -> None:
        seconds = monotonic() - record.started
        meters = self._find_meters(scope["method"] if scope["method"] in _METHODS else "other", record)
        meters.requests.inc()
        meters.seconds.observe(seconds)
        meters.received.inc(record.received)
        meters.sent.inc(record.sent)
        if scope["path"] not in _QUIET:
            tell = log.error if record.status in _FAILURES else log.info
            tell("request", **_fields(scope, record, seconds))
        self._in_progress.dec()

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


def _fields(scope: Scope, record: Record, seconds: float) -> dict[str, object]:
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
        "milliseconds": round(seconds * 1000, 3),
        "client": record.client,
        "actor": record.actor,
        "user_agent": _printable(headers.get("user-agent", "")),
        "request_id": record.request_id,
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

"""What Prometheus is told of requests. They are counted here, because its client's own counters take longer than that.

All is for one event loop, which also answers /metrics: nobody reads what somebody else is changing.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS = Histogram.DEFAULT_BUCKETS  # seconds; the last is infinite


@dataclass(slots=True)
class Tally:
    """Of the requests of one method, route and status: their number, seconds and bytes, and how many took how long."""

    requests: int = 0
    seconds: float = 0.0
    received: int = 0
    sent: int = 0
    # So many took at most the bound, and more than the one before.
    buckets: list[int] = field(default_factory=lambda: [0] * len(_BOUNDS))

    def add(self, seconds: float, received: int, sent: int) -> None:
        self.requests += 1
        self.seconds += seconds
        self.received += received
        self.sent += sent
        self.buckets[bisect_left(_BOUNDS, seconds)] += 1


class Tallies(Collector):
    """`in_progress`: requests whose answer has not ended; `repeated`: those that were answered as one before."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.repeated = 0
        self._tallies: dict[tuple[str, str, int], Tally] = {}

    def find(self, method: str, route: str, status: int) -> Tally:
        """Its labels are from closed sets."""
        return self._tallies.setdefault((method, route, status), Tally())

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("entrepot_requests", "Requests answered", labels=("method", "route", "status"))
        for (method, route, status), tally in self._tallies.items():
            requests.add_metric((method, route, str(status)), tally.requests)
        yield requests
        yield self._collect_seconds()
        received, sent = Counter[str](), Counter[str]()
        for (_, route, _), tally in self._tallies.items():
            received[route] += tally.received
            sent[route] += tally.sent
        yield _by_route("entrepot_received_bytes", "Bytes of request bodies", received)
        yield _by_route("entrepot_sent_bytes", "Bytes of response bodies", sent)
        yield GaugeMetricFamily(
            "entrepot_requests_in_progress", "Requests whose answer has not ended", self.in_progress
        )
        yield CounterMetricFamily(
            "entrepot_repeated_requests", "Requests that were answered as the same one was before", self.repeated
        )

    def _collect_seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "entrepot_request_seconds", "Time to the end of the answer", labels=("method", "route")
        )
        sums: dict[tuple[str, str], Tally] = {}
        for (method, route, _), tally in self._tallies.items():
            total = sums.setdefault((method, route), Tally())
            total.seconds += tally.seconds
            total.buckets = [a + b for a, b in zip(total.buckets, tally.buckets, strict=True)]
        for labels, total in sums.items():
            bounds = ("+Inf" if bound == float("inf") else str(bound) for bound in _BOUNDS)
            family.add_metric(labels, list(zip(bounds, accumulate(total.buckets), strict=True)), total.seconds)
        return family


def _by_route(name: str, about: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=("route",))
    for route, count in counts.items():
        family.add_metric((route,), count)
    return family

"""What /metrics says of the work beside the requests: the collector, the auditor, the scrub."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from registry.drift import Drift
from registry.garbage import Garbage
from registry.scrub import Scrub

_KINDS = ("manifests", "rights", "blobs", "uploads", "repositories")


class RemovalGauges(Collector):
    """Since the server's start, and for this process: a command that collects counts for itself."""

    def __init__(self, garbage: Garbage, drift: Drift, scrub: Scrub) -> None:
        self._garbage = garbage
        self._drift = drift
        self._scrub = scrub

    def collect(self) -> Iterator[Metric]:
        total = self._garbage.total
        removed = CounterMetricFamily("entrepot_collected", "What the collector removed for good", labels=["kind"])
        for kind in _KINDS:
            removed.add_metric([kind], getattr(total, kind))
        yield removed
        yield CounterMetricFamily("entrepot_collected_bytes", "Bytes that this freed", value=total.bytes)
        yield CounterMetricFamily("entrepot_collector_failures", "Reviews and deletes put off", value=total.failed)
        yield GaugeMetricFamily(
            "entrepot_collector_overdue_seconds", "By how much the oldest review is overdue", self._garbage.overdue
        )
        yield CounterMetricFamily("entrepot_drift", "Garbage that no review knew of", value=self._drift.found)
        yield GaugeMetricFamily(
            "entrepot_blobs_damaged", "Blobs known to be damaged, at the last scrub", self._scrub.damaged
        )

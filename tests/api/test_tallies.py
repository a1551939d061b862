"""What is counted of requests, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from registry.api.tallies import Tallies


def test_what_is_told() -> None:
    """Requests by status, seconds by route, bytes by direction; buckets hold all that took no longer."""
    tallies = Tallies()
    tallies.find("GET", "manifest", 200).add(0.002, 0, 100)
    tallies.find("GET", "manifest", 200).add(0.3, 0, 100)
    tallies.find("GET", "manifest", 404).add(60, 0, 7)
    tallies.find("PUT", "manifest", 201).add(0.005, 50, 0)
    tallies.in_progress, tallies.repeated = 3, 1
    metrics = CollectorRegistry()
    metrics.register(tallies)
    text = generate_latest(metrics).decode()
    found = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["entrepot_requests_total", "GET", "manifest", "200"] == 2
    assert found["entrepot_requests_total", "GET", "manifest", "404"] == 1
    assert found["entrepot_requests_total", "PUT", "manifest", "201"] == 1
    assert found["entrepot_request_seconds_count", "GET", "manifest"] == 3
    assert found["entrepot_request_seconds_sum", "GET", "manifest"] == 60.302
    buckets = {bound: found["entrepot_request_seconds_bucket", bound, "GET", "manifest"] for bound in BOUNDS}
    assert buckets == {"0.005": 1, "0.25": 1, "0.5": 2, "10.0": 2, "+Inf": 3}
    assert found["entrepot_request_seconds_bucket", "0.005", "PUT", "manifest"] == 1
    assert found["entrepot_received_bytes_total", "manifest"] == 50
    assert found["entrepot_sent_bytes_total", "manifest"] == 207
    assert found["entrepot_requests_in_progress",] == 3
    assert found["entrepot_repeated_requests_total",] == 1


BOUNDS = ("0.005", "0.25", "0.5", "10.0", "+Inf")

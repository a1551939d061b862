"""What is promised beside the other servers, found in what was measured."""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.peers.figures import Gauge, Measured, Row
from benchmarks.peers.fresh import SHA256, STARTED, name_above, name_loads, name_push
from benchmarks.peers.parts import name_pull, name_tags
from benchmarks.peers.report import Goal
from benchmarks.peers.scale import Scale

ONE, TWO = "entrepot", "entrepot, 2 workers"
NGINX, RIVALS = "nginx", ("distribution 3.1.2", "zot")
_DISTRIBUTION = RIVALS[0]
_MIB, _GIB = 1 << 20, 1 << 30
_LARGE = 100 * _MIB
_NOISE = 0.95  # what `no slower` allows for
_MOST_ABOVE_REST = 60  # MiB
_MOST_START = 0.5  # seconds
_OF_NGINX, _OF_NGINX_AT_ONCE, _OF_NGINX_MANIFESTS = 0.85, 0.95, 0.85
_OF_RIVALS, _OF_DISTRIBUTION_MANIFESTS = 1.3, 8
_OF_SHA256 = 0.8


def find_goals(measured: Sequence[Measured], scale: Scale) -> list[Goal]:
    """Of all that was measured, whichever part it is."""
    rows = {row.name: row for row in measured if isinstance(row, Row)}
    gauges = {gauge.name: gauge for gauge in measured if isinstance(gauge, Gauge)}
    found: list[Goal] = []
    for name in ("manifest GET by tag", "manifest HEAD by tag"):
        found += _beside(rows.get(name), ONE, (NGINX,), _OF_NGINX_MANIFESTS)
        found += _beside(rows.get(name), ONE, (_DISTRIBUTION,), _OF_DISTRIBUTION_MANIFESTS)
    found += _tags(rows, scale)
    for size in scale.pulls:
        if size >= _MIB:
            found += _pulls(rows, size, scale)
    found += _pushes(rows, scale)
    for load in name_loads(scale.pulled_at_once, scale.pushed_at_once):
        found += _values(gauges.get(name_above(load)), _MOST_ABOVE_REST)
    found += _values(gauges.get(STARTED), _MOST_START)
    return found


def _beside(row: Row | None, own: str, others: Sequence[str], least: float) -> Iterator[Goal]:
    for other in others if row else ():
        ratio = row.ratio(own, other) if row else None
        if row and ratio:
            yield Goal(f"{row.name}: {own} to {other}", ratio.median, least=least)


def _tags(rows: dict[str, Row], scale: Scale) -> Iterator[Goal]:
    """The most tags beside the next fewer."""
    *_, fewer, most = (rows.get(name_tags(count)) for count in scale.tags)
    if fewer and most:
        pairs = zip(most.runs[ONE], fewer.runs[ONE], strict=True)
        ratio = statistics.median(many.rate / few.rate for many, few in pairs)
        yield Goal(f"{most.name} to {fewer.name}", ratio, least=_NOISE)


def _pulls(rows: dict[str, Row], size: int, scale: Scale) -> Iterator[Goal]:
    for connections in scale.pull_connections:
        row = rows.get(name_pull(size, connections))
        own = TWO if row and connections > 1 and TWO in row.runs else ONE
        yield from _beside(row, own, (NGINX,), _OF_NGINX_AT_ONCE if connections > 1 else _OF_NGINX)
        yield from _beside(row, own, RIVALS, _OF_RIVALS)


def _pushes(rows: dict[str, Row], scale: Scale) -> Iterator[Goal]:
    for pushed in scale.pushes:
        row = rows.get(name_push(pushed))
        yield from _beside(row, ONE, RIVALS, 2 if pushed.size >= _LARGE else 1)
        if pushed.size >= _GIB and pushed.connections == 1:
            yield from _beside(row, ONE, (SHA256,), _OF_SHA256)


def _values(gauge: Gauge | None, most: float) -> Iterator[Goal]:
    for own in (ONE, TWO):
        if gauge and own in gauge.values:
            yield Goal(f"{gauge.name}: {own}, {gauge.unit}", gauge.value(own), most=most)

"""Tables of what was measured, in Markdown, and what is reached of what is promised."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.figures import GIB, MIB, REQUESTS, Gauge, Measured, Ratio, Row
from benchmarks.results import table

_THOUSAND = 1000
_TEN = 10


def show(measured: Sequence[Measured], own: Sequence[str]) -> Iterator[str]:
    """What each server does, and then our ratios to the others."""
    servers = _servers(measured)
    yield from table(("", *servers), ((row.name, *(_cell(row, name) for name in servers)) for row in measured))
    yield ""
    for name in own:
        others = [other for other in servers if other not in own]
        if name in servers and others:
            rows = [(row.name, *(show_ratio(row.ratio(name, other)) for other in others)) for row in measured]
            yield from table((f"{name}, ratio to", *others), rows)
            yield ""


def _servers(measured: Sequence[Measured]) -> list[str]:
    """In the order in which they appear."""
    names = (name for row in measured for name in (row.runs if isinstance(row, Row) else row.values))
    return list(dict.fromkeys(names))


def _cell(row: Measured, server: str) -> str:
    if isinstance(row, Gauge):
        return show_value(row, server) if server in row.values else ""
    return f"{show_rate(row, server)} ({_cost(row, server)})" if server in row.runs else ""


def show_value(gauge: Gauge, server: str) -> str:
    value = gauge.value(server)
    if gauge.unit == MIB:
        return f"{value:.0f} MiB"
    return f"{value:.2f} s" if value >= 1 else f"{value * _THOUSAND:.0f} ms"


def show_rate(row: Row, server: str) -> str:
    """As `12.3k/s` or `1.23 GiB/s`."""
    rate = row.rate(server)
    if row.unit == GIB:
        return f"{rate:.2f} GiB/s"
    if rate >= _TEN * _THOUSAND:
        return f"{rate / _THOUSAND:.1f}k/s"
    return f"{rate:.0f}/s" if rate >= _TEN else f"{rate:.1f}/s"


def _cost(row: Row, server: str) -> str:
    cost = row.cost(server)
    return f"{cost * _THOUSAND * _THOUSAND:.0f} µs" if row.unit == REQUESTS else f"{cost:.2f} s/GiB"


def show_ratio(ratio: Ratio | None) -> str:
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})" if ratio else ""


@dataclass(frozen=True)
class Goal:
    """A figure that is to be at least so much, or at most so much."""

    name: str
    found: float
    least: float | None = None
    most: float | None = None

    @property
    def is_reached(self) -> bool:
        return (self.least is None or self.found >= self.least) and (self.most is None or self.found <= self.most)


def show_goals(goals: Sequence[Goal]) -> Iterator[str]:
    rows = [(goal.name, f"{goal.found:.2f}", _wanted(goal), "yes" if goal.is_reached else "**no**") for goal in goals]
    yield from table(("", "found", "goal", "reached"), rows) if rows else ()


def _wanted(goal: Goal) -> str:
    return f"at least {goal.least:g}" if goal.least is not None else f"at most {goal.most:g}"


def versions(programs: Mapping[str, str]) -> Iterator[str]:
    """A list of the servers and what they are."""
    for name, version in programs.items():
        yield f"- {name}: {version}"

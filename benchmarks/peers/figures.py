"""What was measured, and the ratios in it: medians of those of the single rounds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

REQUESTS, GIB = "requests", "GiB"  # units of a Row
SECONDS, MIB = "s", "MiB"  # of a Gauge


@dataclass(frozen=True)
class Run:
    """A server did so much in so many seconds, with so many of processor time."""

    amount: float
    seconds: float
    processor_seconds: float

    @property
    def rate(self) -> float:
        return self.amount / self.seconds


@dataclass(frozen=True)
class Ratio:
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Row:
    """The runs of each server, those of one round at the same index; `unit` is that of their amounts."""

    name: str
    unit: str
    runs: Mapping[str, Sequence[Run]]

    def rate(self, server: str) -> float:
        return statistics.median(run.rate for run in self.runs[server])

    def cost(self, server: str) -> float:
        """Seconds of processor time for one unit."""
        return statistics.median(run.processor_seconds / run.amount for run in self.runs[server])

    def ratio(self, server: str, to: str) -> Ratio | None:
        """Above 1 is faster. None where one of the two did not take part."""
        if server not in self.runs or to not in self.runs:
            return None
        pairs = zip(self.runs[server], self.runs[to], strict=True)
        return _summarise([own.rate / other.rate for own, other in pairs])


@dataclass(frozen=True)
class Gauge:
    """Values of which less is better, of each server, those of one round at the same index."""

    name: str
    unit: str
    values: Mapping[str, Sequence[float]]

    def value(self, server: str) -> float:
        return statistics.median(self.values[server])

    def ratio(self, server: str, to: str) -> Ratio | None:
        """Above 1 is better. None where one of the two did not take part, or took nothing."""
        if not all(self.values.get(server, ())) or server not in self.values or to not in self.values:
            return None
        pairs = zip(self.values[server], self.values[to], strict=True)
        return _summarise([other / own for own, other in pairs])


Measured: TypeAlias = Row | Gauge


def _summarise(ratios: Sequence[float]) -> Ratio:
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def turn(names: Sequence[str], number: int) -> list[str]:
    """The order in one round: each server is the first in turn."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def show_size(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size} B"

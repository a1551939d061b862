"""Us beside docker-registry, distribution, nginx and, where the variable ZOT names its binary, zot.

All servers are on this machine, on files, with an access log; ours asks for a login and gets a token. They are asked in
turns, in rounds whose order changes: each round gives each pair of servers a ratio, and the medians of these are the
results. Give it a quiet machine.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import clients, fresh, parts
from benchmarks.peers.chart import draw
from benchmarks.peers.environment import DEBIAN_PYTHON, cache, install, is_in_memory
from benchmarks.peers.figures import Measured, Row
from benchmarks.peers.goals import ONE, RIVALS, TWO, find_goals
from benchmarks.peers.parts import Bench
from benchmarks.peers.programs import NotThere, Program, find_programs
from benchmarks.peers.report import Goal, show, show_goals, versions
from benchmarks.peers.scale import FULL, QUICK, Scale
from benchmarks.results import write_section

CHART = Path(__file__).parents[1] / "peers.svg"


@dataclass(frozen=True)
class Part:
    title: str
    about: str
    measure: Callable[[Bench], Iterator[Measured]]


PARTS = {
    "requests": Part(
        "Small requests beside other servers",
        "A manifest of 2.2 kB, 8 connections; GET by wrk, HEAD by a client of ours which sends the requests of all"
        " connections at once. In brackets the server's processor time for one request.",
        parts.measure_requests,
    ),
    "tags": Part(
        "Pages of tags beside other servers",
        "`tags/list?n=100`, 8 connections; docker-registry knows no `n` and answers with all tags; nginx has the page"
        " as a file. In brackets the server's processor time for one request.",
        parts.measure_tags,
    ),
    "pulls": Part(
        "Pulls of blobs beside other servers",
        "From the page cache, on 1 and on 32 connections (`x1`, `x32`); a client reads, counts and forgets all bytes."
        " In brackets the server's processor time for one request or GiB.",
        parts.measure_pulls,
    ),
    "pushes": Part(
        "Pushes of blobs beside other registries",
        "New content to an empty registry, on 1 and on 8 connections, by POST and one PUT; `chunked`: by POST, PATCH of"
        " unknown length and PUT, as docker does. All of them sync what they have stored before they answer. In"
        " brackets the server's processor time for one GiB.",
        fresh.measure_pushes,
    ),
    "memory": Part(
        "Memory beside other servers",
        "Of all processes of a server, what they share counted once (PSS): at rest after a first answer, and the most"
        " above that under load.",
        fresh.measure_memory,
    ),
    "starts": Part("Starts beside other servers", "With their files in the page cache.", fresh.measure_starts),
    "clients": Part(
        "docker beside other registries",
        "Docker Engine 20.10, an image of random bytes; the registry is empty before the first push, the engine before"
        " the first pull. Docker compresses what it pushes, and unpacks what it pulls.",
        clients.measure_clients,
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each row; fewer of the largest (default: 5)")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it runs")
    parser.add_argument("--write", action="store_true", help="write the sections of RESULTS.md, and the chart")
    parser.add_argument("--python", default=DEBIAN_PYTHON, help=f"that our server runs on (default: {DEBIAN_PYTHON})")
    parser.add_argument("--folder", type=Path, default=cache(), help="on a disk, 20 GiB free (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    if chosen.quick and chosen.write:
        raise SystemExit("--quick measures nothing that is worth to be written")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if is_in_memory(chosen.folder):
        raise SystemExit(f"{chosen.folder} is in memory, where a sync costs nothing: name another with --folder")
    signal.signal(signal.SIGTERM, _end)
    try:
        run(chosen)
    except NotThere as missing:
        raise SystemExit(str(missing)) from None


def _end(*_: object) -> None:
    """Stop the servers and remove what they have stored, as Ctrl+C does."""
    raise SystemExit("ended by SIGTERM")


def run(chosen: argparse.Namespace) -> None:
    scale = QUICK if chosen.quick else FULL
    entrepot = install(chosen.python)
    with tempfile.TemporaryDirectory(prefix="entrepot-", dir=chosen.folder) as name:
        programs = find_programs(entrepot, Path(name))
        described = list(versions({program.name: program.version() for program in programs}))
        print(*described, sep="\n")
        measured: list[Measured] = []
        for part in chosen.only or PARTS:
            found = list(say(PARTS[part].measure(Bench(programs, Path(name), chosen.rounds, scale))))
            lines = list(describe(found, scale, programs))
            print("", f"## {PARTS[part].title}", "", *lines, sep="\n")
            if chosen.write:
                about = [PARTS[part].about, "", "All have an access log. They are:", "", *described, ""]
                command = f"python -m benchmarks.peers --rounds {chosen.rounds} --only {part} --write"
                write_section(PARTS[part].title, command, [*about, *lines], chosen.python)
            measured += found
    chart = make_chart(measured, scale)
    if chosen.write and chart:
        CHART.write_text(chart)
    missed = [goal for goal in find_goals(measured, scale) if not goal.is_reached]
    if missed and not chosen.quick:
        raise SystemExit("missed: " + "; ".join(show_missed(missed)))


def say(measured: Iterator[Measured]) -> Iterator[Measured]:
    """Tell of each row as it comes: all of them take an hour."""
    for row in measured:
        print(f"measured: {row.name}", file=sys.stderr, flush=True)
        yield row


def describe(measured: Sequence[Measured], scale: Scale, programs: Sequence[Program]) -> Iterator[str]:
    own = [program.name for program in programs if program.name in (ONE, TWO)]
    yield from show(measured, own)
    yield from show_goals(find_goals(measured, scale))


def make_chart(measured: Sequence[Measured], scale: Scale) -> str:
    """Of a run that has all of its rows; nothing otherwise."""
    rows = [row for row in measured if isinstance(row, Row) and row.name in scale.charted]
    return draw(rows, (ONE, TWO), RIVALS[0]) if len(rows) == len(scale.charted) else ""


def show_missed(goals: Sequence[Goal]) -> Iterator[str]:
    for goal in goals:
        yield f"{goal.name} {goal.found:.2f}"


if __name__ == "__main__":
    main()

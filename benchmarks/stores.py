"""PostgreSQL and S3 with one and with three replicas, beside CNCF distribution on the same S3 server (SeaweedFS).

All registries run at once and are asked in turns, in rounds whose order changes. Each round gives each of them a ratio
to distribution, and the medians of these are the results: above 1 is faster. A push of much is also compared with
boto3's own transfer to the store in the same rounds (goal: 0.7). The memory is that of a server of its own which takes
several large pushes at once. PostgreSQL syncs every commit; distribution has no database to sync.

Everything is on this machine, the client too: absolute numbers say little about another one.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.blob_client import MIB, Client, Content
from benchmarks.load import WrongAnswer
from benchmarks.results import table, write_section
from benchmarks.store_servers import HOST, Registry, Servers, find_distribution

GOAL = 0.7  # of boto3's own transfer
BUDGET = 256  # MiB for the content of uploads: the setting's default
ABOVE_BUDGET = 128  # MiB for what else a server needs while it takes eight pushes: threads, buffers, boto3
ONE, THREE, PEER, BOTO3 = "1 replica", "3 replicas", "distribution", "boto3 upload_file"
_CLIENTS = 4  # at once, for small things
_SMALL = 40  # blobs, or manifests of which each is sent or asked for, in one run
_PULLS = 4  # of the large blob in one run

_ABOUT = (
    "Beside CNCF distribution v3.1.2 on the same SeaweedFS. PostgreSQL syncs every commit; distribution has none.",
    "Four clients at once for small things, one for a large one. Above 1 is faster; the goal beside boto3's own",
    "transfer is 0.7.",
    "",
)

Run: TypeAlias = Callable[[], float]  # what is timed; it returns how much was done
Work: TypeAlias = Callable[[Client], object]


@dataclass(frozen=True)
class Row:
    """`prepare` makes one run of one registry, and does beforehand what is not measured."""

    name: str
    unit: str
    prepare: Callable[[Registry], Run]
    is_redirected: bool = False


@dataclass(frozen=True)
class Contest:
    """The two sets of registries, each by what it is called, and the store itself."""

    streaming: Mapping[str, Registry]
    redirecting: Mapping[str, Registry]
    upload: Callable[[int], Run]

    def runs(self, row: Row) -> dict[str, Callable[[], Run]]:
        registries = self.redirecting if row.is_redirected else self.streaming
        return {name: partial(row.prepare, registry) for name, registry in registries.items()}


def at_once(registry: Registry, works: Sequence[Work], clients: int = _CLIENTS) -> None:
    """Give each of some clients its share of the work. Raises what the work raises."""

    def take(share: Sequence[Work]) -> None:
        client = Client(HOST, registry.ports)
        for work in share:
            work(client)
        client.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(take, [works[number::clients] for number in range(clients)]))


class Load:
    """What each registry is asked for."""

    def __init__(self, large: int) -> None:
        self._large = large
        self._pushed: dict[tuple[str, int], Content] = {}

    def rows(self) -> list[Row]:
        large = f"{self._large // MIB} MiB"
        pull, pull_large = partial(self._pull, MIB, _SMALL), partial(self._pull, self._large, _PULLS)
        redirected, redirected_large = partial(pull, is_redirected=True), partial(pull_large, is_redirected=True)
        return [
            Row("push 1 MiB", "blobs", partial(self._push, MIB, _SMALL)),
            Row(f"push {large}", "MiB", partial(self._push, self._large, 1)),
            Row("pull 1 MiB, streamed", "blobs", pull),
            Row(f"pull {large}, streamed", "MiB", pull_large),
            Row("pull 1 MiB, redirected", "blobs", redirected, is_redirected=True),
            Row(f"pull {large}, redirected", "MiB", redirected_large, is_redirected=True),
            Row("PUT manifest", "manifests", self._put_manifests),
            Row("GET manifest", "manifests", self._get_manifests),
        ]

    def _push(self, size: int, count: int, registry: Registry) -> Run:
        contents = [Content.make(size) for _ in range(count)]
        return partial(_run_all, registry, [partial(_push, content) for content in contents], _amount(size, count))

    def _pull(self, size: int, count: int, registry: Registry, *, is_redirected: bool = False) -> Run:
        pull = partial(_pull, self._find(size, registry), is_redirected=is_redirected)
        return partial(_run_all, registry, [pull] * count, _amount(size, count))

    def _put_manifests(self, registry: Registry) -> Run:
        config = self._find(MIB, registry)
        tags = [uuid.uuid4().hex for _ in range(_SMALL)]
        return partial(_run_all, registry, [partial(_put_manifest, config, tag) for tag in tags], _SMALL)

    def _get_manifests(self, registry: Registry) -> Run:
        at_once(registry, [partial(_put_manifest, self._find(MIB, registry), "latest")], 1)
        return partial(_run_all, registry, [_get_manifest] * (5 * _SMALL), 5 * _SMALL)

    def _find(self, size: int, registry: Registry) -> Content:
        """One that the registry has."""
        if (registry.name, size) not in self._pushed:
            content = self._pushed[registry.name, size] = Content.make(size)
            at_once(registry, [partial(_push, content)], 1)
        return self._pushed[registry.name, size]


def _amount(size: int, count: int) -> float:
    return count if size == MIB else count * size / MIB


def _run_all(registry: Registry, works: Sequence[Work], amount: float) -> float:
    """Large things come one at a time: more than so many small ones are few."""
    at_once(registry, works, _CLIENTS if len(works) >= _SMALL else 1)
    return amount


def _push(content: Content, client: Client) -> None:
    client.push(content)


def _pull(content: Content, client: Client, *, is_redirected: bool) -> None:
    if client.pull(content) is not is_redirected:
        raise WrongAnswer(f"redirected: {not is_redirected}")


def _put_manifest(config: Content, tag: str, client: Client) -> None:
    client.push_manifest(config, tag)


def _get_manifest(client: Client) -> None:
    client.get_manifest("latest")


def upload(servers: Servers, size: int) -> Run:
    """As much content by boto3's own transfer, in parts and threads as it likes."""
    client, content = servers.client(), b"".join(Content.make(size).pieces())

    def run() -> float:
        client.upload_fileobj(io.BytesIO(content), servers.bucket, f"uploaded/{uuid.uuid4().hex}")
        return size / MIB

    return run


def measure(runs: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[float]]:
    """What each has done in a second, in each round."""
    rates: dict[str, list[float]] = defaultdict(list)
    names = list(runs)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            run = runs[name]()
            began = time.monotonic()
            amount = run()
            rates[name].append(amount / (time.monotonic() - began))
    return rates


def compare(rates: Mapping[str, Sequence[float]], to: str) -> dict[str, dict[str, float]]:
    """The median ratio of each to one of them in the same round, the least and the most."""
    found = {}
    for name, own in rates.items():
        ratios = sorted(a / b for a, b in zip(own, rates[to], strict=True))
        found[name] = {
            "ratio": round(statistics.median(ratios), 2),
            "least": round(ratios[0], 2),
            "most": round(ratios[-1], 2),
        }
    return found


def measure_rows(contest: Contest, load: Load, rounds: int, large: int) -> Iterator[dict[str, Any]]:
    for row in load.rows():
        runs = contest.runs(row)
        is_upload = row.name == f"push {large // MIB} MiB"
        if is_upload:
            runs[BOTO3] = partial(contest.upload, large)
        for prepare in runs.values():
            prepare()()  # sees that each answer is right, and warms up
        rates = measure(runs, rounds)
        found = {
            "name": row.name,
            "unit": row.unit,
            "per_second": {name: round(statistics.median(own), 1) for name, own in rates.items()},
        }
        if PEER in rates:
            found["to_distribution"] = compare(rates, PEER)
        if is_upload:
            found["to_boto3"] = compare(rates, BOTO3)
        yield found


def measure_memory(registry: Registry, parallel: int, size: int) -> dict[str, Any]:
    """The most memory that a server has held while it took so many pushes at once."""
    before = registry.peak_memory()
    contents = [Content.make(size) for _ in range(parallel)]
    began = time.monotonic()
    at_once(registry, [partial(_push, content) for content in contents], parallel)
    seconds = time.monotonic() - began
    return {
        "mib_before": before // MIB,
        "mib": registry.peak_memory() // MIB,
        "mib_per_second": round(parallel * size / MIB / seconds, 1),
    }


def run(servers: Servers, chosen: argparse.Namespace) -> dict[str, Any]:
    large = chosen.large * MIB
    streaming = {ONE: servers.entrepot("one", 1), THREE: servers.entrepot("three", 3)}
    redirecting = {ONE: servers.entrepot("redirecting", 1, redirects=True)}
    program = None if chosen.alone else chosen.distribution or find_distribution()
    if program:
        streaming[PEER] = servers.distribution("peer", program)
        redirecting[PEER] = servers.distribution("redirecting-peer", program, redirects=True)
    contest = Contest(streaming, redirecting, partial(upload, servers))
    rows = list(measure_rows(contest, Load(large), chosen.rounds, large)) if chosen.rounds else []
    memory = {}
    if chosen.parallel:
        size = chosen.parallel_mib * MIB
        memory[ONE] = measure_memory(servers.entrepot("memory", 1), chosen.parallel, size)
        if program:
            memory[PEER] = measure_memory(servers.distribution("memory-peer", program), chosen.parallel, size)
    return {"goal": GOAL, "rows": rows, "memory": memory}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="of each row (default: 7)")
    parser.add_argument("--large", type=int, default=100, metavar="MIB", help="of a large blob (default: 100)")
    parser.add_argument("--parallel", type=int, default=8, help="pushes at once, for the memory (default: 8; 0: none)")
    parser.add_argument("--parallel-mib", type=int, default=1024, metavar="MIB", help="of each of them (default: 1024)")
    parser.add_argument("--distribution", type=Path, metavar="PROGRAM", help="its server (default: of .ci/install)")
    parser.add_argument("--alone", action="store_true", help="without distribution")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    with tempfile.TemporaryDirectory(prefix="entrepot-benchmark-") as name, Servers(Path(name)) as servers:
        found = run(servers, chosen)
    if chosen.write:
        command = f"python -m benchmarks.stores --rounds {chosen.rounds} --write"
        write_section("PostgreSQL and S3", command, [*_ABOUT, *show(found, chosen)])
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        print(*show(found, chosen), sep="\n")
    missed = list(find_missed(found))
    if missed:
        raise SystemExit("missed: " + "; ".join(missed))


def find_missed(found: Mapping[str, Any]) -> Iterator[str]:
    """What is not reached of what is promised."""
    for row in found["rows"]:
        for name in (ONE, THREE):
            if "to_boto3" in row and row["to_boto3"][name]["ratio"] < GOAL:
                yield f"{row['name']}, {name}: {row['to_boto3'][name]['ratio']} of boto3's transfer, goal {GOAL}"
    memory = found["memory"].get(ONE)
    if memory and memory["mib"] - memory["mib_before"] > BUDGET + ABOVE_BUDGET:
        yield f"{memory['mib']} MiB of memory, {memory['mib_before']} before, with a budget of {BUDGET} for uploads"


def show(found: Mapping[str, Any], chosen: argparse.Namespace) -> Iterator[str]:
    """As tables in Markdown."""
    yield from table(("", "a second", "to distribution", "to boto3"), _cells(found["rows"]))
    yield ""
    head = (f"{chosen.parallel} pushes of {chosen.parallel_mib} MiB at once", "MiB at most", "before", "MiB a second")
    rows = [
        (name, *(str(memory[each]) for each in ("mib", "mib_before", "mib_per_second")))
        for name, memory in found["memory"].items()
    ]
    yield from table(head, rows) if rows else ()


def _cells(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        for name, rate in row["per_second"].items():
            peer = row.get("to_distribution", {}).get(name) if name != PEER else None
            own = row.get("to_boto3", {}).get(name) if name != BOTO3 else None
            yield f"{row['name']}: {name}", f"{rate} {row['unit']}", _ratio(peer), _ratio(own)


def _ratio(found: Mapping[str, float] | None) -> str:
    return f"{found['ratio']:.2f} ({found['least']:.2f}-{found['most']:.2f})" if found else ""


if __name__ == "__main__":
    main()

"""What lifecycle runs and the collector cost, in seconds, and what they cost those who push meanwhile, as ratios.

One repository with 100,000 tags: the plan is made, and runs remove most of the images, each a share of them, beside
pushes, in turns with pushes alone. So does the collector with what runs have removed from a smaller one. `ratio` is the
latency of pushes beside the work to that of pushes alone just before. Then a registry with 10,000 repositories and
another one with ten, each with a policy, of which ten are due, in turns. Absolute numbers say little about another
machine; what is noise, the times alone say, the one half of them compared with the other.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.filling import Filler, keep
from benchmarks.pushing import Pushes, pushing
from benchmarks.serving import SERVER, Finished, finish, serving, settings

MANY, REMOVED = "benchmark/many", "benchmark/removed"
GOAL = 2.0  # of the 99th percentile
EXPIRED = 0.9  # of the images of the large repository, in all rounds together
COLLECTED = 0.02  # as many images as this share of the large repository has, in each round
PARTS = ("- plan and store it", "- apply")
FEWEST = 5  # pushes of which there are quantiles
DUE = 10
IN_EACH = 5  # images, of a repository with a policy of many
# The built-in collector would work beside all of it.
SETTINGS = {"ENTREPOT_BRAKE_PERCENT": "100", "ENTREPOT_UNDELETE_DAYS": "0", "ENTREPOT_COLLECTOR": "off"}
APPLIED_FROM = "SELECT coalesce(min(done_at), 0) FROM run_step WHERE run_id = (SELECT max(id) FROM run)"


@dataclass(frozen=True)
class Time:
    """Between two instants in Unix seconds."""

    began: float
    ended: float

    def halves(self) -> tuple["Time", "Time"]:
        middle = (self.began + self.ended) / 2
        return Time(self.began, middle), Time(middle, self.ended)


@dataclass(frozen=True)
class Latency:
    """Of pushes, in seconds."""

    pushes: int
    median: float
    p99: float

    @classmethod
    def of(cls, pushes: Pushes, times: Sequence[Time]) -> "Latency":
        found = [each for time in times for each in pushes.between(time.began, time.ended)]
        if len(found) < FEWEST:
            raise SystemExit(f"only {len(found)} pushes were made: is the machine too busy?")
        return cls(len(found), statistics.median(found), statistics.quantiles(found, n=100, method="inclusive")[98])


def compare(pushes: Pushes, alone: Sequence[Time], beside: Sequence[Time]) -> dict[str, Any]:
    """The latency of all rounds, and the ratio to that of pushes alone of each: their median, least and most."""
    found: dict[str, Any] = asdict(Latency.of(pushes, beside))
    rounds = [(Latency.of(pushes, [a]), Latency.of(pushes, [b])) for a, b in zip(alone, beside, strict=True)]
    for name in ("median", "p99"):
        ratios = [getattr(b, name) / getattr(a, name) for a, b in rounds]
        found[f"{name}_ratio"] = round(statistics.median(ratios), 3)
        found[f"{name}_ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
    return found


def entrepot(folder: Path, *arguments: str) -> Finished:
    return finish([str(SERVER), *arguments], settings(folder, SETTINGS))


def pause(seconds: float) -> Time:
    """A time in which the pushers are alone."""
    began = time.time()
    time.sleep(seconds)
    return Time(began, time.time())


class Tagged:
    """One repository with many tags, and a smaller one whose images the collector takes."""

    def __init__(self, folder: Path, images: int, rounds: int) -> None:
        self._folder = folder
        self._images = images
        self._rounds = rounds
        self._removed = int(images * EXPIRED / rounds)
        self._collected = int(images * COLLECTED)
        self._filler = Filler(folder, with_bytes=self._collected * rounds)
        self._times: defaultdict[str, list[Time]] = defaultdict(list)
        self._runs: list[dict[str, float]] = []
        self._collections: list[dict[str, float]] = []

    def measure(self, seconds: float) -> dict[str, Any]:
        began = time.time()
        self._filler.fill({REMOVED: self._collected * self._rounds}, keep(1))
        self._filler.fill({MANY: self._images}, keep(self._images - self._removed))
        filled = time.time() - began
        dry_run = entrepot(self._folder, "lifecycle", "run", "--repository", MANY, "--dry-run")
        preview = entrepot(self._folder, "lifecycle", "preview", MANY, "--json")
        with serving(self._folder, SETTINGS) as server, pushing(server.port) as pushes:
            for number in reversed(range(self._rounds)):  # before the others: what they remove would be collected too
                self._remove(REMOVED, number * self._collected)
                self._times["alone before collect"].append(pause(seconds))
                self._collect()
            for number in range(1, self._rounds + 1):
                self._times["alone before run"].append(pause(seconds))
                self._run(self._images - number * self._removed)
        return {
            "images": self._images,
            "fill_seconds": filled,
            "dry_run": {"seconds": dry_run.seconds, "processor_seconds": dry_run.processor_seconds},
            "preview": {"seconds": preview.seconds, "processor_seconds": preview.processor_seconds},
            "runs": self._runs,
            "collections": self._collections,
            "latencies": self._compare(pushes),
        }

    def _remove(self, name: str, kept: int) -> tuple[Finished, int]:
        """How many images a run has removed."""
        self._filler.set_policy(name, keep(max(1, kept)))
        done = entrepot(self._folder, "lifecycle", "run", "--repository", name, "--json")
        removed = int(json.loads(done.printed)["removed_images"])
        if not removed:
            raise SystemExit("the run has removed nothing")
        return done, removed

    def _run(self, kept: int) -> None:
        done, removed = self._remove(MANY, kept)
        applied_from = self._filler.count(APPLIED_FROM) / 1_000
        instants = done.began, applied_from, done.ended
        for name, time_of_part in zip(PARTS, map(Time, instants, instants[1:]), strict=True):
            self._times[name].append(time_of_part)
        self._times["lifecycle run"].append(Time(done.began, done.ended))
        self._runs.append(
            {
                "removed_images": removed,
                "plan_seconds": applied_from - done.began,
                "apply_seconds": done.ended - applied_from,
                "processor_seconds": done.processor_seconds,
            }
        )

    def _collect(self) -> None:
        done = finish([sys.executable, "-m", "benchmarks.collecting", str(self._folder)], settings(self._folder))
        collected = json.loads(done.printed)
        if collected["failed"] or not collected["discarded"]:
            raise SystemExit(f"the collector has left something: {collected}")
        self._times["garbage collect"].append(Time(done.began, done.ended))
        counts = {name: collected[name] for name in ("reviewed", "manifests", "blobs", "discarded")}
        self._collections.append(counts | {"seconds": done.seconds, "processor_seconds": done.processor_seconds})

    def _compare(self, pushes: Pushes) -> list[dict[str, Any]]:
        found = []
        for alone, *beside in (
            ("alone before collect", "garbage collect"),
            ("alone before run", "lifecycle run", *PARTS),
        ):
            quiet = self._times[alone]
            halves = [[time.halves()[side] for time in quiet] for side in (0, 1)]
            found.append({"name": alone} | compare(pushes, halves[0], halves[1]))
            found += [{"name": name} | compare(pushes, quiet, self._times[name]) for name in beside]
        return found


class Repositories:
    """A registry with so many repositories, each with a policy; `push` makes that of ten due."""

    def __init__(self, folder: Path, count: int) -> None:
        names = [f"benchmark/app-{number:05}" for number in range(count)]
        self._folder = folder
        self._due = names[:: count // DUE][:DUE]
        self._filler = Filler(folder)
        self._filler.fill(dict.fromkeys(names, IN_EACH), keep(IN_EACH))
        self._number = IN_EACH
        self.looked: set[int] = set()

    def run(self, *, with_pushes: bool) -> Finished:
        """One round over the due policies, each of which has an image to remove if there were pushes."""
        if with_pushes:
            self._filler.push(self._due, self._number)
            self._number += 1
        done = entrepot(self._folder, "lifecycle", "run", "--json")
        if with_pushes:
            found = json.loads(done.printed)
            if found["removed_images"] != DUE:
                raise SystemExit(f"the run has removed {found['removed_images']} of {DUE} images")
            self.looked.add(found["policies"])
        return done


def measure_due(folder: Path, repositories: int, pairs: int) -> dict[str, Any]:
    """Of ten due policies, with many repositories and with ten, and of a run that finds none due."""
    few, many = Repositories(folder / "few", DUE), Repositories(folder / "repositories", repositories)
    found: list[tuple[Finished, Finished]] = []
    for number in range(pairs):
        sides = [few, many] if number % 2 == 0 else [many, few]
        done = {side: side.run(with_pushes=True) for side in sides}
        found.append((done[few], done[many]))
    idle = [few.run(with_pushes=False) for _ in range(pairs)]
    start = statistics.median(run.processor_seconds for run in idle)
    return {
        "repositories": repositories,
        "policies_looked_at": sorted(few.looked | many.looked),
        "ratio": statistics.median(b.seconds / a.seconds for a, b in found),
        "work": statistics.median(b.processor_seconds / a.processor_seconds for a, b in found),
        "work_without_start": statistics.median(b.processor_seconds for _, b in found) - start,
        "few_without_start": statistics.median(a.processor_seconds for a, _ in found) - start,
        "seconds": statistics.median(b.seconds for _, b in found),
        "idle_processor_seconds": start,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="in the one repository (default: 100000)")
    parser.add_argument("--rounds", type=int, default=3, help="of runs and collections (default: 3)")
    parser.add_argument("--seconds", type=float, default=10, help="of pushes alone, twice a round (default: 10)")
    parser.add_argument("--repositories", type=int, default=10_000, help="with a policy (default: 10000)")
    parser.add_argument("--pairs", type=int, default=5, help="of runs with many repositories and few (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    with tempfile.TemporaryDirectory(prefix="entrepot-benchmark-") as name:
        folder = Path(name)
        tagged = Tagged(folder / "tags", chosen.images, chosen.rounds).measure(chosen.seconds)
        due = measure_due(folder, chosen.repositories, chosen.pairs)
    if chosen.json:
        print(json.dumps({"goal": GOAL, "tags": tagged, "due": due}, indent=2))
    else:
        print(*show_tagged(tagged), *show_due(due), sep="\n")


def show_tagged(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['images']} images with a tag each, seconds (of the processor):"
    for name in ("dry_run", "preview"):
        yield f"  {name.replace('_', '-')}: {found[name]['seconds']:.1f} ({found[name]['processor_seconds']:.1f})"
    for run in found["runs"]:
        parts = f"{run['plan_seconds']:.1f} to plan and store, {run['apply_seconds']:.1f} to apply"
        yield f"  a run that removed {run['removed_images']}: {parts} ({run['processor_seconds']:.1f})"
    for each in found["collections"]:
        counts = f"{each['manifests']} manifests, {each['blobs']} blobs, {each['reviewed']} reviews"
        yield f"  the collector, {counts}: {each['seconds']:.1f} ({each['processor_seconds']:.1f})"
    heads = "".join(f"{name:>8}{'ratio':>7}{'range':>13}" for name in ("median", "p99"))
    yield f"{'latency of pushes':22}{'pushes':>7}{heads}"
    for row in found["latencies"]:
        shown = [f"{row['name']:22}{row['pushes']:7}"]
        for name in ("median", "p99"):
            low, high = row[f"{name}_ratio_range"]
            span = f"{low:.2f}-{high:.2f}"
            shown.append(f"{1_000 * row[name]:5.0f} ms{row[f'{name}_ratio']:7.2f}{span:>13}")
        yield "".join(shown)
    yield "Each ratio is to pushes alone in the same round; of times alone, of their second half to their first: noise."


def show_due(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{found['repositories']} policies of which {DUE} are due : {DUE} policies, all due:"
        f" time {found['ratio']:.2f}, processor {found['work']:.2f};"
        f" looked at: {', '.join(map(str, found['policies_looked_at']))}"
    )
    yield (
        f"  without the start of the program, which takes {found['idle_processor_seconds']:.2f} s of the processor:"
        f" {found['work_without_start']:.3f} s : {found['few_without_start']:.3f} s"
    )


if __name__ == "__main__":
    main()

"""Minutes of pushes against a server that is killed at random moments: nothing acknowledged may be lost.

Then as many minutes of pushes and pulls beside a collector that waits for nothing; both are killed now and then, and at
the end no byte may be left that nothing names. Run as `python -m tests.soak.run --minutes 10`. Ends with exit status 1
at the first fault, and keeps the directory.

With `--replicas 3` it is as many minutes of pushes to three servers behind a balancer instead, on PostgreSQL and the
store that TEST_STORE names, and each minute one of them is killed, stopped or frozen.
"""

import argparse
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tests.garbage.load import Load
from tests.kill import running, workload
from tests.kill.history import History
from tests.kill.verification import find_faults
from tests.places import place_under_test, servers_in
from tests.replicas import load as replicas

_Load: TypeAlias = Callable[[Path, int, float], list[str]]

_LONGEST_LIFE = 6  # seconds until a kill
_SECONDS_BETWEEN_KILLS = 10


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    arguments.add_argument("--replicas", type=int, default=0)
    options = arguments.parse_args()
    print(f"seed {options.seed}")
    folder = Path(tempfile.mkdtemp(prefix="entrepot-soak-"))
    print(place_under_test(), folder, flush=True)
    loads: tuple[_Load, ...] = (_push_and_kill_again, _collect)
    if options.replicas:
        loads = (partial(_serve_together, options.replicas),)
    with servers_in(folder):
        for load in loads:
            if faults := load(folder, options.seed, options.minutes * 60):
                print(*faults, sep="\n")
                print(f"the directory is left for you to look at: {folder}")
                return 1
    shutil.rmtree(folder, ignore_errors=True)
    print("all passed, 0 failed")
    return 0


def _push_and_kill_again(folder: Path, seed: int, seconds: float) -> list[str]:
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    history = History()
    end = time.monotonic() + seconds
    kills = 0
    while time.monotonic() < end:
        _push_and_kill(folder, history, chance.uniform(0.2, _LONGEST_LIFE))
        kills += 1
        if faults := _faults_after_restart(folder, history):
            return faults
        print(f"{kills} kills, {len(history.log)} answers compared", flush=True)
    return []


def _collect(folder: Path, seed: int, seconds: float) -> list[str]:
    load = Load(folder / "collected", seed)
    faults = load.run(seconds, _SECONDS_BETWEEN_KILLS)
    print(", ".join(f"{count} {what}" for what, count in sorted(load.shelf.counts.items())), flush=True)
    return faults


def _serve_together(count: int, folder: Path, seed: int, seconds: float) -> list[str]:
    faults, load = replicas.run(folder / "together", seed, seconds, count)
    done = Counter(load.disturbed) | Counter({"answers compared": len(load.history.log), "images aged": len(load.aged)})
    print(", ".join(f"{count} {what}" for what, count in done.items()), flush=True)
    return faults


def _push_and_kill(folder: Path, history: History, life: float) -> None:
    server = running.start(folder / "data", folder / "server.log")
    killer = threading.Timer(life, server.kill)
    killer.start()
    try:
        while server.program.poll() is None:
            workload.run(server.port, history)
    finally:
        killer.join()


def _faults_after_restart(folder: Path, history: History) -> list[str]:
    server = running.start(folder / "data", folder / "server.log")
    try:
        return find_faults(server.port, history)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())

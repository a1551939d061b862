"""Minutes of pushes against a server that is killed at random moments: nothing acknowledged may be lost.

Run as `python -m tests.soak.run --minutes 10`. Ends with exit status 1 at the first fault, and keeps the directory.
"""

import argparse
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.kill import running, workload
from tests.kill.history import History
from tests.kill.verification import find_faults

_LONGEST_LIFE = 6  # seconds until a kill


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    options = arguments.parse_args()
    print(f"seed {options.seed}")
    chance = random.Random(options.seed)  # noqa: S311 - a schedule, not a secret
    folder = Path(tempfile.mkdtemp(prefix="entrepot-soak-"))
    history = History()
    end = time.monotonic() + options.minutes * 60
    kills = 0
    while time.monotonic() < end:
        _push_and_kill(folder, history, chance.uniform(0.2, _LONGEST_LIFE))
        kills += 1
        if faults := _faults_after_restart(folder, history):
            print(*faults, sep="\n")
            print(f"{kills} kills; the directory is left for you to look at: {folder}")
            return 1
        print(f"{kills} kills, {len(history.log)} answers compared", flush=True)
    shutil.rmtree(folder)
    print(f"{kills} passed, 0 failed")
    return 0


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

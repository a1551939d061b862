"""Minutes of docker, skopeo and crane before three replicas, of which one is killed each minute.

Run as `python -m tests.clients.soak --minutes 10`, as root on Debian 12, with what `.ci/install all` installs. Ends
with exit status 1 at the first fault, and keeps the directory.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.places import servers_in

from .load import run

_SECONDS_BETWEEN = 60


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="entrepot-"))
    print(f"seed {options.seed}, {folder}", flush=True)
    with servers_in(folder):
        faults, record = run(folder / "load", options.seed, options.minutes * 60, _SECONDS_BETWEEN)
    print(", ".join(f"{count} {what}" for what, count in sorted(record.counts.items())))
    if faults:
        print(*faults, sep="\n")
        print(f"the directory is left for you to look at: {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print("all passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

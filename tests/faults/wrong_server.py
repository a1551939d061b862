"""A server that is wrong on purpose, to prove that the power-loss test can fail: `python -m tests.faults.wrong_server`.

`--forget files|directories` never syncs them; `--forget order` syncs a while after the row is committed. The database
is not touched by this: SQLite syncs its files without Python.
"""

import argparse
import os
import stat
import sys
import threading
from collections.abc import Callable

from tests.kill import server

SECONDS_LATE = 60

_sync = os.fsync


def _sync_late(descriptor: int) -> None:
    late = threading.Timer(SECONDS_LATE, _sync, (os.dup(descriptor),))
    late.daemon = True
    late.start()


def _sync_directories_only(descriptor: int) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        _sync(descriptor)


def _sync_files_only(descriptor: int) -> None:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        _sync(descriptor)


WRONG: dict[str, Callable[[int], None]] = {
    "files": _sync_directories_only,
    "directories": _sync_files_only,
    "order": _sync_late,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forget", choices=WRONG, required=True)
    arguments, rest = parser.parse_known_args()
    os.fsync = os.fdatasync = WRONG[arguments.forget]  # type: ignore[assignment]  # they take any file-like too
    sys.argv[1:] = rest
    server.main()


if __name__ == "__main__":
    main()

"""A server that kills itself: `python -m tests.kill.server --kill POINT --at N`, configured by ENTREPOT_* as usual.

It is the product's own server with the product's own kill points, so the product needs no switch for it.
"""

import argparse
import os
import signal
import threading

from registry.app import create_app
from registry.config import load
from registry.killpoints import KILL_POINTS
from registry.server import serve


class Reaper:
    """Kills this very process at the `at`-th arrival at `point`, as `kill -9` does: nothing is flushed or closed."""

    def __init__(self, point: str, at: int) -> None:
        self._point = point
        self._left = at
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        if point == self._point:
            with self._lock:
                self._left -= 1
                if not self._left:
                    os.kill(os.getpid(), signal.SIGKILL)


def ignore_address(_host: str, _port: int) -> None:
    """Whoever started this server chose its port."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", choices=KILL_POINTS, required=True, metavar="POINT")
    parser.add_argument("--at", type=int, required=True, metavar="N")
    arguments = parser.parse_args()
    config, _ = load()
    serve(create_app(config, reach=Reaper(arguments.kill, arguments.at)), config, ignore_address, None)


if __name__ == "__main__":
    main()

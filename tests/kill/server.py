"""A server that kills itself: `python -m tests.kill.server --kill POINT --at N`, configured by ENTREPOT_* as usual.

It is the product's own server with the product's own kill points, so the product needs no switch for it. Beside it
the product's collector takes at once what was deleted.
"""

import argparse
import asyncio
import os
import signal
import threading

from registry.app import Registry, create_app
from registry.config import Config
from registry.garbage import Windows
from registry.killpoints import KILL_POINTS
from registry.metadata import reviews
from registry.server import serve
from registry.sources import load
from storage.killpoints import Reach, pass_by

_AT_ONCE = Windows(undelete_days=0, settle=0, quiet=0)
_PAUSE = 0.02  # seconds between two looks


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


async def collect(config: Config, reach: Reach) -> None:
    """Collect as long as the server lives, and look again and again at what could go."""
    registry = Registry(config, reach=reach, windows=_AT_ONCE)
    while True:
        await registry.database.write(lambda tx: reviews.hasten(tx, ("right", "manifest"), registry.clock()))
        await registry.garbage.step()
        await asyncio.sleep(_PAUSE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", choices=KILL_POINTS, required=True, metavar="POINT")
    parser.add_argument("--at", type=int, required=True, metavar="N")
    arguments = parser.parse_args()
    config, _ = load()
    reaper = Reaper(arguments.kill, arguments.at)

    def begin_collecting(_host: str, _port: int) -> None:
        """Whoever started this server chose its address; that it listens says that the database is made."""
        reach = reaper if arguments.kill.startswith("garbage.") else pass_by  # the others count the server's arrivals
        threading.Thread(target=lambda: asyncio.run(collect(config, reach)), daemon=True).start()

    serve(create_app(config, reach=reaper), config, begin_collecting, None)


if __name__ == "__main__":
    main()

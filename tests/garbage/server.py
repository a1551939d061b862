"""A server and a collector that wait for nothing: no lease, no time to settle, no undelete window, no rest.

`python -m tests.garbage.server` serves, `python -m tests.garbage.server --collect` collects beside it; both are
configured by ENTREPOT_* as usual and are the product's own.
"""

import argparse
import asyncio

from registry.app import Registry, create_app
from registry.config import Config
from registry.garbage import Windows
from registry.metadata import reviews
from registry.server import serve
from registry.sources import load

AT_ONCE = Windows(undelete_days=0, lease=0, settle=0, quiet=0)
_PAUSE = 0.05  # seconds after a look that found nothing: without it no push would ever be fast enough


async def collect(config: Config) -> None:
    """Collect until the end, and look again and again at all that could go."""
    registry = Registry(config, windows=AT_ONCE)
    while True:
        await registry.database.write(lambda tx: reviews.hasten(tx, ("right", "manifest"), registry.clock()))
        if (await registry.garbage.step()).is_idle:
            await asyncio.sleep(_PAUSE)


def ignore_address(_host: str, _port: int) -> None:
    """Whoever started this server chose its port."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", action="store_true")
    arguments = parser.parse_args()
    config, _ = load()
    if arguments.collect:
        asyncio.run(collect(config))
    else:
        serve(create_app(config, windows=AT_ONCE), config, ignore_address, None)


if __name__ == "__main__":
    main()

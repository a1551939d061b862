"""`entrepot garbage collect` with a short time to settle and a window of 0: `python -m benchmarks.collecting FOLDER`.

It prints what it did as JSON.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from registry.app import Registry
from registry.config import Config
from registry.garbage import Collected, Windows

SETTLE = 1  # milliseconds: the command would wait a minute for what it condemns


async def collect(folder: Path) -> Collected:
    registry = Registry(Config(data=folder), windows=Windows(undelete_days=0, settle=SETTLE))
    try:
        await registry.join()
        return await registry.garbage.collect(lambda _step: None, ignores_rest=True)
    finally:
        registry.close()


def main() -> None:
    print(json.dumps(asdict(asyncio.run(collect(Path(sys.argv[1]))))))


if __name__ == "__main__":
    main()

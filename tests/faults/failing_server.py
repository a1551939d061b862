"""A server one of whose system calls fails once: `python -m tests.faults.failing_server fsync EIO 2`.

Of the calls made since it listens, the N-th fails without having been made. Only Python's calls count: SQLite makes its
own.
"""

import argparse
import errno
import itertools
import os
from collections.abc import Callable
from typing import Any

from registry.app import create_app
from registry.server import serve
from registry.sources import load

CALLS = ("fsync", "ftruncate", "mkdir", "pwrite", "rename")


def failing(call: Callable[..., Any], error: int, when: int) -> Callable[..., Any]:
    numbers = itertools.count(1)

    def failing_call(*args: Any, **kwargs: Any) -> Any:
        if next(numbers) == when:
            raise OSError(error, os.strerror(error))
        return call(*args, **kwargs)

    return failing_call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("call", choices=CALLS)
    parser.add_argument("error", choices=errno.errorcode.values(), metavar="error")
    parser.add_argument("when", type=int)
    arguments = parser.parse_args()
    call = failing(getattr(os, arguments.call), getattr(errno, arguments.error), arguments.when)

    def begin_failing(_host: str, _port: int) -> None:
        setattr(os, arguments.call, call)

    config, _ = load()
    serve(create_app(config), config, begin_failing, None)


if __name__ == "__main__":
    main()

"""A server that counts what SQLite does: `python -m tests.faults.counting_server FILE`, configured by ENTREPOT_*.

When it is stopped, FILE holds the number of the virtual machine's steps; one row read costs at least one.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import apsw

from registry.app import create_app
from registry.server import serve
from registry.sources import load
from tests.kill.server import ignore_address

steps: Counter[str] = Counter()


def _count(event: dict[str, Any]) -> None:
    steps[event["sql"]] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]


def main() -> None:
    apsw.connection_hooks.append(lambda connection: connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, _count))
    config, _ = load()
    try:
        serve(create_app(config), config, ignore_address, None)
    finally:
        Path(sys.argv[1]).write_text(str(steps.total()))


if __name__ == "__main__":
    main()

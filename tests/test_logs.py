"""What a line of the log is for programs: one JSON object in ASCII, with its instant."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from registry.api.request_log import Batch, Stamp


def test_stamps() -> None:
    """Each has its own instant, in UTC, to the microsecond."""
    instants = [
        1_764_000_000_999_999_999,
        1_764_000_001_000_000_000,
        1_764_000_001_000_042_000,
        1_763_999_999_000_000_000,
    ]
    left = iter(instants)
    stamp = Stamp(lambda: next(left))
    for instant in instants:
        read = datetime.fromisoformat(stamp(None, "info", {})["timestamp"])
        assert read == datetime.fromtimestamp(instant // 10**9, UTC).replace(microsecond=instant // 1000 % 10**6)


def test_lines_of_one_turn() -> None:
    """They are written together, when the event loop has done what it has to do, each as any other line would be."""
    written: list[str] = []
    batch = Batch(written.append, lambda: 1_764_000_000_000_042_000)
    fields = {"path": "/v2/", "user_agent": 'a "quoted" \\ é', "status": 200}

    async def ask() -> None:
        write = batch.prepare(fields, is_failure=False)
        for number in range(3):
            write(0.25, f"id-{number}")
        batch.prepare(fields, is_failure=True)(0.5, "id-3")
        assert not written
        await asyncio.sleep(0)
        write(1.0, "id-4")
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert all(content.isascii() for content in written)
    assert [content.count("\n") for content in written] == [4, 1]
    lines = [json.loads(line) for line in "".join(written).splitlines()]
    same = fields | {"event": "request", "level": "info", "timestamp": "2025-11-24T16:00:00.000042Z"}
    assert lines[0] == same | {"milliseconds": 0.25, "request_id": "id-0"}
    assert lines[3] == same | {"milliseconds": 0.5, "request_id": "id-3", "level": "error"}
    assert [line["request_id"] for line in lines] == [f"id-{number}" for number in range(5)]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_log_that_nobody_reads(log_format: str) -> None:
    """Requests are answered and servers end all the same, whether their reader has gone or they closed it."""
    program = f"import os, structlog; from registry import logs; logs.configure({log_format!r}); {LOGGING}"
    for closing in ("os.close(2)", "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("CLOSE", closing)], stdout=subprocess.PIPE, check=True
        )
        assert done.stdout == b"said\n"


LOGGING = "CLOSE; structlog.get_logger().info('ending'); os.write(1, b'said\\n'); os._exit(0)"

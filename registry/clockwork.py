"""The built-in clock of the lifecycle: `entrepot lifecycle run` as a child process of the server.

In a process of its own a run over 100,000 tags takes no turn from the pushes and pulls of the server.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LIFECYCLE_RUN = (sys.executable, "-P", "-m", "registry.cli", "lifecycle", "run")
_PREFIX = "ENTREPOT_"
_NICENESS = 10  # whoever pushes or pulls goes first
_SHOWN = 4_000  # bytes of the end of what it writes
_TERMINATION_SECONDS = 10


class Clockwork:
    """Runs `command` to its end, with the `environment` and no other."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)

    async def run(self) -> None:
        """Run it once and log what it says. Cancelled, it ends the child first. Raises OSError when it cannot start."""
        child = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl+C at the terminal is the server's: it says when the child ends
        )
        try:
            with contextlib.suppress(OSError):  # it has ended already, or the container forbids it
                os.setpriority(os.PRIO_PROCESS, child.pid, _NICENESS)
            said, complained = await asyncio.gather(_read_end(child.stdout), _read_end(child.stderr))
            status = await child.wait()
        except BaseException:
            await asyncio.shield(_end(child))
            raise
        _tell(status, said, complained)


def make_environment(settings: Mapping[str, object], inherited: Mapping[str, str]) -> dict[str, str]:
    """The inherited environment with the server's own settings: neither its file nor its flags are read again."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_PREFIX)}
    own = {f"{_PREFIX}{name.upper()}": str(value) for name, value in settings.items() if value is not None}
    return kept | own


async def _read_end(stream: asyncio.StreamReader | None) -> str:
    """Read to the end, and remember the last of it."""
    end = b""
    while stream and (piece := await stream.read(_SHOWN)):
        end = (end + piece)[-_SHOWN:]
    return end.decode(errors="replace").strip()


async def _end(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
        try:
            async with asyncio.timeout(_TERMINATION_SECONDS):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def _tell(status: int, said: str, complained: str) -> None:
    """The last line sums a run up. It ends with 1 when something was refused, or the brake has stopped a plan."""
    summary = said.rpartition("\n")[2]
    if status == 0:
        log.info("lifecycle run", summary=summary)
    else:
        log.error("lifecycle run", status=status, summary=summary, problem=complained or said)

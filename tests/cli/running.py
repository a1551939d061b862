"""Runs `entrepot`: inside this process where that shows the same, as a program, and as a program on a terminal."""

import codecs
import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.cli.app import run
from registry.cli.invocation import Invocation
from tests import places
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).with_name("entrepot")
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    stdout: str
    stderr: str


def entrepot(*arguments: str, uid: int | None = None, stdin: bytes = b"") -> Outcome:
    """Run the command inside this process, as this process's user or as another one."""
    invocation = Invocation(os.geteuid() if uid is None else uid, "entrepot", arguments)
    with (
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
        _stdin(stdin),
    ):
        try:
            run(invocation)
        except SystemExit as end:
            return Outcome(int(end.code or 0), stdout.getvalue(), stderr.getvalue())
    raise AssertionError("the command did not end")


def program(*arguments: str, **settings: str) -> Outcome:
    """Run the program to its end, with settings in its environment and no terminal."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Of a program. ENTREPOT_DATA stands for all settings of the registry there: its database, its store."""
    data = settings.get("ENTREPOT_DATA")
    place = places.environment(Path(data)) if data else {}  # first: it may start a server, and set its credentials
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENTREPOT_")}
    return inherited | place | settings


@contextlib.contextmanager
def _stdin(content: bytes) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content))
    try:
        yield
    finally:
        sys.stdin = before


class Terminal:
    """The program with a terminal for its three streams; `text` is what it showed until now."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        self._screen, end = os.openpty()
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        # Whoever is started in the background ignores Ctrl+C, and so would the program that it starts.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.program = subprocess.Popen(
            [PROGRAM, *arguments],
            env=environment({"TERM": "xterm", "COLUMNS": "100"} | settings),
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,  # a password is asked for here, not at the terminal of whoever runs the tests
        )
        signal.signal(signal.SIGINT, before)
        os.close(end)

    def expect(self, text: str) -> None:
        """Read until the text is shown."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text:
            assert self._read(deadline), f"{text!r} was not shown, but:\n{self.text}"

    def answer(self, line: str) -> None:
        os.write(self._screen, f"{line}\n".encode())

    def interrupt(self) -> None:
        """What Ctrl+C does, once the program waits: CPython loses a signal just before it reads a line."""
        wait_until(self._is_waiting, "the program waits")
        self.program.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Read to the end. Returns the exit status."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self.program.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        os.close(self._screen)

    def _is_waiting(self) -> bool:
        """Whether the main thread sleeps."""
        return Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing was shown for {SECONDS} s after:\n{self.text}"
        try:
            shown = os.read(self._screen, 4096)
        except OSError:  # Linux's end of file: nobody has the other end open
            return False
        self.text = (self.text + self._decoder.decode(shown)).replace("\r\n", "\n")
        return bool(shown)


class Server:
    """A server program on the directory `data`; it chooses its port. `log` is its standard error."""

    def __init__(self, data: Path, log: Path, **settings: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.program = subprocess.Popen(
                [PROGRAM, "serve", "--port", "0"],
                env=environment({"ENTREPOT_DATA": str(data)} | settings),
                stdin=subprocess.DEVNULL,
                stderr=output,
            )

    def wait_listening(self) -> dict[str, object]:
        """The first line of its log."""
        deadline = time.monotonic() + SECONDS
        while "\n" not in self.log.read_text():
            assert self.program.poll() is None, f"the server ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, "the server says nothing"
            time.sleep(0.01)
        line: dict[str, object] = json.loads(self.log.read_text().partition("\n")[0])
        return line


@contextlib.contextmanager
def serving(data: Path, log: Path, **settings: str) -> Iterator[dict[str, object]]:
    """A server while the block lasts. Yields the line with which it says that it listens."""
    server = Server(data, log, **settings)
    try:
        yield server.wait_listening()
    finally:
        server.program.terminate()
        status = server.program.wait(SECONDS)
    assert status == 0, log.read_text()

"""Run the official OCI conformance suite, again and again, against this checkout's server and write RESULTS.md."""

import argparse
import difflib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO

from conformance.report import SUITE, SUITE_VERSION, ConformanceError, Outcome, read_outcome, render, summary
from conformance.runs import GRANT, PASSWORD, RUNS, USER, Run
from tests.places import servers_in

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
SERVER = HERE.parent / ".venv" / "bin" / "entrepot"

START_SECONDS, STOP_SECONDS, SUITE_SECONDS = 60, 40, 900


def environment(prefix: str, settings: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with only the given settings under their prefix."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)} | settings


def suite_program() -> Path:
    """Find the suite in the cache, or build it there with Go."""
    cache = Path(os.environ.get("ENTREPOT_CACHE") or Path.home() / ".cache" / "entrepot") / "go"
    folder = cache / f"conformance-{SUITE_VERSION}"
    program = folder / "conformance"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise ConformanceError("the conformance suite is a Go program: install Go 1.24 or newer (https://go.dev/dl)")
    print(f"Installing {SUITE}@{SUITE_VERSION} (once) ...", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="conformance-building-") as building:
        target = Path(building) / folder.name
        settings = {"GOBIN": str(target), "CGO_ENABLED": "0"}
        subprocess.run([go, "install", "-trimpath", f"{SUITE}@{SUITE_VERSION}"], env=os.environ | settings, check=True)
        target.rename(folder)
    return program


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def server_command(run: Run, port: int) -> list[str]:
    program = [sys.executable, "-m", "conformance.redirecting"] if run.redirects else [str(SERVER)]
    return [*program, "serve", "--host", "127.0.0.1", "--port", str(port)]


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise ConformanceError(f"the server did not start (exit status {server.returncode}):\n{tail}")
        time.sleep(0.05)


def add_user(settings: dict[str, str], log: IO[bytes]) -> None:
    """Make the registry with one user, so that nobody else may do anything."""
    for arguments in (("add", USER, "--password-stdin"), ("grant", USER, *GRANT)):
        command = [SERVER, "user", *arguments]
        subprocess.run(command, env=settings, input=PASSWORD.encode(), stdout=log, stderr=log, check=True)


@contextmanager
def serving(run: Run, folder: Path) -> Iterator[int]:
    """Run a server of its own on an empty data folder, and yield its port."""
    port, log = free_port(), folder / "server.log"
    with tempfile.TemporaryDirectory(prefix="entrepot-conformance-") as content, log.open("wb") as stderr:
        settings = environment("ENTREPOT_", run.server_settings(Path(content)))
        if run.login:
            add_user(settings, stderr)
        server = subprocess.Popen(server_command(run, port), env=settings, stdout=stderr, stderr=stderr, cwd=content)
        try:
            wait_until_ready(server, port, log)
            yield port
            if server.poll() is not None:
                raise ConformanceError(f"the server ended by itself with status {server.returncode}: see {log}")
            server.send_signal(signal.SIGTERM)
            if status := server.wait(STOP_SECONDS):
                raise ConformanceError(f"the server ended with status {status} at SIGTERM: see {log}")
        except subprocess.TimeoutExpired as error:
            raise ConformanceError(f"still running after its time: {error}") from error
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def conduct(run: Run, program: Path, folder: Path) -> Outcome:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with serving(run, folder) as port, (folder / "suite.log").open("wb") as log:
        settings = environment("OCI_", run.suite_settings(port, folder))
        # The suite reads oci-conformance.yaml from where it stands: it stands where there is none. Its exit status
        # is 1 for a failed test and 0 for a wrong configuration, so only its report counts.
        subprocess.run([program], env=settings, cwd=folder, stdout=log, stderr=log, timeout=SUITE_SECONDS, check=False)
    return read_outcome(run, folder)


def keep(text: str, *, check: bool) -> bool:
    """Write RESULTS.md, or with `check` say whether it is what a run gives."""
    if not check:
        RESULTS.write_text(text)
        return True
    old = RESULTS.read_text() if RESULTS.exists() else ""
    changes = difflib.unified_diff(old.splitlines(), text.splitlines(), "RESULTS.md", "this run", lineterm="")
    print(*changes, sep="\n", end="\n" if old != text else "")
    return old == text


def conduct_all(runs: list[Run], folder: Path) -> list[Outcome]:
    program, outcomes = suite_program(), []
    for run in runs:
        outcome = conduct(run, program, folder / run.name)
        outcomes.append(outcome)
        print(summary(outcome), *outcome.problems, sep="\n", flush=True)
        if outcome.problems:
            print(f"Every request and response: {folder / run.name / 'report.html'}", flush=True)
    return outcomes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"only these: {', '.join(run.name for run in RUNS)}")
    parser.add_argument("--check", action="store_true", help="fail when RESULTS.md is not what the runs give")
    chosen = parser.parse_args()
    if unknown := set(chosen.runs) - {run.name for run in RUNS}:
        parser.error(f"no such run: {', '.join(sorted(unknown))}")
    return chosen


def main() -> int:
    chosen = arguments()
    runs = [run for run in RUNS if not chosen.runs or run.name in chosen.runs]
    try:
        with tempfile.TemporaryDirectory(prefix="entrepot-servers-") as folder, servers_in(Path(folder)):
            outcomes = conduct_all(runs, HERE / "results")
    except (ConformanceError, subprocess.SubprocessError) as error:
        print(error, "0 passed, 1 failed", sep="\n")
        return 1
    passed = sum(outcome.counts["passed"] for outcome in outcomes)
    tests = sum(sum(outcome.counts.values()) for outcome in outcomes)
    # A problem beside the tests (an option off, an answer of the 500s) is a failure too.
    excused = sum(len(outcome.excused) for outcome in outcomes)
    failed = max(tests - passed - excused, sum(bool(outcome.problems) for outcome in outcomes))
    if len(runs) == len(RUNS) and not keep(render(outcomes), check=chosen.check):
        print("RESULTS.md is out of date: run `make conformance` and commit it")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

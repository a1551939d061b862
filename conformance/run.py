"""Run the official OCI conformance suite six times against this checkout's server and write RESULTS.md."""

import argparse
import difflib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

SUITE = "github.com/opencontainers/distribution-spec/conformance"
SUITE_VERSION = "v0.0.0-20260831232431-97274622c111"

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
SERVER = HERE.parent / ".venv" / "bin" / "entrepot"

# Everything the suite can be asked to test. It ignores names that it does not know, so options_off()
# reads back what it really did.
API_OPTIONS = (
    "PING", "PULL", "PUSH", "REFERRER",
    "BLOBS_ATOMIC", "BLOBS_DELETE", "BLOBS_DIGEST_HEADER", "BLOBS_MOUNT_ANONYMOUS", "BLOBS_UPLOAD_CANCEL",
    "MANIFESTS_ATOMIC", "MANIFESTS_DELETE", "MANIFESTS_DIGEST_HEADER", "MANIFESTS_TAG_PARAM",
    "TAGS_ATOMIC", "TAGS_DELETE", "TAGS_LIST",
)  # fmt: skip
DATA_OPTIONS = (
    "IMAGE", "INDEX", "INDEX_LIST", "ARTIFACT", "ARTIFACT_LIST", "SUBJECT", "SUBJECT_MISSING", "SUBJECT_LIST",
    "DATA_FIELD", "NONDISTRIBUTABLE", "CUSTOM_FIELDS", "NO_LAYERS", "EMPTY_BLOB", "SHA512",
)  # fmt: skip
SPARSE_FEATURE = "Sparse Manifests"

USER, PASSWORD = "conformance", "of-a-registry-that-lives-for-seconds"
GRANT = ("conformance/**", "pull,push,delete")
MAY_SKIP = re.compile("OCI Conformance Test/sha(256|512) blobs/mount anonymous/blob-mount-anonymous skipped")
MAY_SKIP_FEATURE = "Blob anonymous mount"
REASON = (
    "A mount without `from` takes the blob from any repository that the caller may pull from. The suite's token is for",
    "the repositories in the challenge, and that can name no source there: strangers would learn who has the blob. So",
    "the answer is 202, and the suite uploads the blob. In the runs without login no token sets limits: it is 201.",
)

OUTCOMES = ("passed", "failures", "errors", "skipped", "disabled")
START_SECONDS, STOP_SECONDS, SUITE_SECONDS = 60, 40, 900
EXCERPTS, EXCERPT_LINES, EXCERPT_WIDTH = 25, 45, 300


class ConformanceError(Exception):
    """The suite or the server could not do its part, so there is no result to speak of."""


@dataclass(frozen=True)
class Run:
    spec: str
    sparse: bool
    login: bool = False

    @property
    def name(self) -> str:
        return self.spec + ("-login" if self.login else "-sparse" if self.sparse else "")

    def suite_settings(self, port: int, folder: Path) -> dict[str, str]:
        options = [f"OCI_API_{name}" for name in API_OPTIONS] + [f"OCI_DATA_{name}" for name in DATA_OPTIONS]
        return {
            "OCI_REGISTRY": f"127.0.0.1:{port}",
            "OCI_TLS": "disabled",
            "OCI_VERSION": self.spec,
            "OCI_RESULTS_DIR": str(folder),
            "OCI_LOG": "error",  # failures are taken from the report
            **dict.fromkeys(options, "true"),
            "OCI_DATA_SPARSE": "true" if self.sparse else "false",
            # Without the cache each request is refused first, and sent again with a token for what the challenge names.
            **({"OCI_USERNAME": USER, "OCI_PASSWORD": PASSWORD, "OCI_CACHE_AUTH": "false"} if self.login else {}),
        }

    def server_settings(self, folder: Path) -> dict[str, str]:
        settings = {"ENTREPOT_DATA": str(folder)}
        return settings | {"ENTREPOT_SPARSE_MANIFESTS": "accept"} if self.sparse else settings


RUNS = (
    *(Run(spec, sparse) for spec in ("1.1", "dev") for sparse in (False, True)),
    *(Run(spec, sparse=True, login=True) for spec in ("1.1", "dev")),
)


@dataclass(frozen=True)
class Outcome:
    run: Run
    counts: dict[str, int]
    apis: dict[str, str]
    content: dict[str, str]  # the suite's sets of test content
    problems: list[str]
    excused: list[str]  # tests that were skipped as they must be


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


def server_command(port: int) -> list[str]:
    return [str(SERVER), "serve", "--host", "127.0.0.1", "--port", str(port)]


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
        server = subprocess.Popen(server_command(port), env=settings, stdout=stderr, stderr=stderr, cwd=content)
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


def sections(report: Path) -> dict[str, dict[str, str]]:
    """Read results.yaml: top-level names, each with its `name: value` lines."""
    found: dict[str, dict[str, str]] = {}
    for line in report.read_text().splitlines():
        name, _, value = line.strip().partition(": ")
        if not line.startswith(" "):
            section = found.setdefault(name.rstrip(":"), {})
        elif value:
            section[name] = value
    return found


def options_off(run: Run, report: Path) -> list[str]:
    """Name the options that the suite had switched off although nobody asked for it."""
    off = {line.strip() for line in report.read_text().splitlines() if line.endswith(": false")}
    off -= {"cacheAuth: false"} if run.login else set()
    off -= set() if run.sparse else {"sparse: false"}
    return [f"the suite ran with {option}" for option in sorted(off)]


def requests_logged(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):  # a line of another program or of the interpreter
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == "request":
                yield entry


def server_errors(log: Path) -> list[str]:
    """Find in the server's log what no input may cause: an answer of the 500s."""
    requests = list(requests_logged(log))
    failed = [entry for entry in requests if entry["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR]
    found = [f"the server answered {entry['status']} to {entry['method']} {entry['path']}" for entry in failed]
    return found if requests else ["the server logged no request as JSON, so its answers are unknown"]


def served_as_others(log: Path) -> list[str]:
    """Find in the server's log who else than the user was answered."""
    served = {e["actor"] for e in requests_logged(log) if e["path"].startswith("/v2/") and e["status"] != 401}  # noqa: PLR2004 - the status
    return [f"the server answered {', '.join(sorted(served)) or 'nobody'}"] if served != {USER} else []


def crop(text: str) -> str:
    lines = text.strip().splitlines()
    kept = lines[:EXCERPT_LINES] + (["..."] if len(lines) > EXCERPT_LINES else [])
    return "\n".join("    " + (line if len(line) <= EXCERPT_WIDTH else line[:EXCERPT_WIDTH] + " ...") for line in kept)


def describe(test: ET.Element, *, excerpt: bool) -> str:
    """Describe a test that did not pass: its name, what the suite says, and the last exchange."""
    said = test.findtext("system-out", "") or "no reason given"
    text = f"{test.get('status')}: {test.get('name')}\n{crop(said)}"
    exchanges = [part for part in re.split(r"(?m)^={80}$", test.findtext("system-err", "")) if part.strip()]
    return f"{text}\n{crop(exchanges[-1])}" if excerpt and exchanges else text


def read_outcome(run: Run, folder: Path) -> Outcome:
    try:
        suites = ET.parse(folder / "junit.xml").getroot()  # noqa: S314 -- written by the suite a moment ago
        report = sections(folder / "results.yaml")
    except (OSError, ET.ParseError) as error:
        raise ConformanceError(f"the suite left no readable result: {error}") from error
    counts = {outcome: int(suites.get(outcome, "0")) for outcome in OUTCOMES[1:]}
    counts["passed"] = int(suites.get("tests", "0")) - sum(counts.values())
    tests = [test for test in suites.iter("testcase") if test.get("status") != "passed"]
    may_skip = [test for test in tests if run.login and MAY_SKIP.fullmatch(f"{test.get('name')} {test.get('status')}")]
    excused = [test.get("name", "") for test in may_skip]
    tests = [test for test in tests if test not in may_skip]
    problems = [describe(test, excerpt=number < EXCERPTS) for number, test in enumerate(tests)]
    apis, content = report.get("apis", {}), report.get("data", {})
    # What we switched off ourselves is not for the suite to fail.
    if not run.sparse and content.get(SPARSE_FEATURE) == "Disabled":
        content[SPARSE_FEATURE] = "off"
    if not problems:
        features = [*apis.items(), *content.items()]
        features = [pair for pair in features if not (excused and pair == (MAY_SKIP_FEATURE, "Skip"))]
        problems += [f"{feature}: {status}" for feature, status in features if status not in {"Pass", "off"}]
    log = folder / "server.log"
    problems += options_off(run, folder / "results.yaml") + server_errors(log)
    problems += served_as_others(log) if run.login else []
    if not counts["passed"]:
        problems.append("no test passed")
    return Outcome(run, counts, apis, content, problems, excused)


def conduct(run: Run, program: Path, folder: Path) -> Outcome:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with serving(run, folder) as port, (folder / "suite.log").open("wb") as log:
        settings = environment("OCI_", run.suite_settings(port, folder))
        # The suite reads oci-conformance.yaml from where it stands: it stands where there is none. Its exit status
        # is 1 for a failed test and 0 for a wrong configuration, so only its report counts.
        subprocess.run([program], env=settings, cwd=folder, stdout=log, stderr=log, timeout=SUITE_SECONDS, check=False)
    return read_outcome(run, folder)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows]]


def feature_rows(found: list[dict[str, str]]) -> list[list[str]]:
    names = sorted({name for features in found for name in features})
    return [[name, *(features.get(name, "-") for features in found)] for name in names]


def skips(outcomes: list[Outcome]) -> list[str]:
    """The lines that name what was skipped and say why it must be."""
    found = [f"- {outcome.run.name}: `{name}`" for outcome in outcomes for name in outcome.excused]
    return ["Skipped:", "", *found, "", *REASON, ""] if found else []


def render(outcomes: list[Outcome]) -> str:
    runs = [outcome.run for outcome in outcomes]
    totals = [
        [
            *(run.name, run.spec, "`accept`" if run.sparse else "default", "a user's" if run.login else "none"),
            *(str(outcome.counts[key]) for key in OUTCOMES),
        ]
        for run, outcome in zip(runs, outcomes, strict=True)
    ]
    names = [run.name for run in runs]
    return "\n".join(
        [
            "# Conformance results",
            "",
            "Written by `make conformance`, see [README.md](README.md). Suite: OCI distribution-spec's own,",
            f"`{SUITE}`",
            f"at `{SUITE_VERSION}`, every API and content option on.",
            "",
            *table(["run", "`OCI_VERSION`", "sparse manifests", "login", "passed", "failed", *OUTCOMES[2:]], totals),
            "",
            *skips(outcomes),
            "## Per API",
            "",
            *table(["API", *names], feature_rows([outcome.apis for outcome in outcomes])),
            "",
            "## Per kind of content",
            "",
            *table(["content", *names], feature_rows([outcome.content for outcome in outcomes])),
            "",
        ]
    )


def keep(text: str, *, check: bool) -> bool:
    """Write RESULTS.md, or with `check` say whether it is what a run gives."""
    if not check:
        RESULTS.write_text(text)
        return True
    old = RESULTS.read_text() if RESULTS.exists() else ""
    changes = difflib.unified_diff(old.splitlines(), text.splitlines(), "RESULTS.md", "this run", lineterm="")
    print(*changes, sep="\n", end="\n" if old != text else "")
    return old == text


def summary(outcome: Outcome) -> str:
    counts = ", ".join(f"{outcome.counts[key]} {key}" for key in OUTCOMES)
    return f"{outcome.run.name}: {counts}"


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

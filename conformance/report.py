"""What a run of the suite has shown, read from its reports and the server's log, and RESULTS.md made of it."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from conformance.runs import USER, Run

SUITE = "github.com/opencontainers/distribution-spec/conformance"
SUITE_VERSION = "v0.0.0-20260831232431-97274622c111"

SPARSE_FEATURE = "Sparse Manifests"

MAY_SKIP = re.compile("OCI Conformance Test/sha(256|512) blobs/mount anonymous/blob-mount-anonymous skipped")
MAY_SKIP_FEATURE = "Blob anonymous mount"
REASON = (
    "A mount without `from` takes the blob from any repository that the caller may pull from. The suite's token is for",
    "the repositories in the challenge, and that can name no source there: strangers would learn who has the blob. So",
    "the answer is 202, and the suite uploads the blob. In the runs without login no token sets limits: it is 201.",
)

HEAD = ("run", "`OCI_VERSION`", "sparse manifests", "login", "database", "store")
OUTCOMES = ("passed", "failures", "errors", "skipped", "disabled")
EXCERPTS, EXCERPT_LINES, EXCERPT_WIDTH = 25, 45, 300


class ConformanceError(Exception):
    """The suite or the server could not do its part, so there is no result to speak of."""


@dataclass(frozen=True)
class Outcome:
    run: Run
    counts: dict[str, int]
    apis: dict[str, str]
    content: dict[str, str]  # the suite's sets of test content
    problems: list[str]
    excused: list[str]  # tests that were skipped as they must be


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
    off = [line.strip() for line in report.read_text().splitlines() if line.endswith(": false")]
    allowed = {"cacheAuth: false": run.login, "sparse: false": not run.sparse, "digestHeader: false": run.redirects}
    for option in [option for option, is_allowed in allowed.items() if is_allowed and option in off]:
        off.remove(option)  # once: manifests have a digestHeader, too
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


def wrongly_redirected(run: Run, log: Path) -> list[str]:
    """Find in the server's log whether clients were sent elsewhere for blobs, or were not although they should."""
    count = sum(entry["status"] == HTTPStatus.TEMPORARY_REDIRECT for entry in requests_logged(log))
    return [f"the server redirected {count} requests"] if bool(count) != run.redirects else []


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
    problems += wrongly_redirected(run, log)
    if not counts["passed"]:
        problems.append("no test passed")
    return Outcome(run, counts, apis, content, problems, excused)


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
            *(run.place.database, run.place.store + (", redirects" if run.redirects else "")),
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
            *table([*HEAD, "passed", "failed", *OUTCOMES[2:]], totals),
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


def summary(outcome: Outcome) -> str:
    counts = ", ".join(f"{outcome.counts[key]} {key}" for key in OUTCOMES)
    return f"{outcome.run.name}: {counts}"

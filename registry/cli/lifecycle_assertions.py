"""`entrepot lifecycle test`: do policies do what the tests beside them say?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.invocation import Refused
from registry.cli.lifecycle_files import STDIN, check_policy, name_file, read_text
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import print_json, print_table, show_count
from registry.cli.settings import load_config
from registry.lifecycle.assertions import AssertionsInvalid, Judged, Suite, judge, parse_suite


@dataclass(frozen=True, slots=True)
class _Tested:
    """One file: where its policy is, and what became of each expectation, by the name of its test."""

    file: str
    policy: str | None
    cases: list[tuple[str, list[Judged]]]

    @property
    def judged(self) -> list[Judged]:
        return [each for _, judged in self.cases for each in judged]

    @property
    def failed(self) -> int:
        return sum(not each.is_met for each in self.judged)


def verify(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Tests of policies; - is standard input.")],
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """See whether policies do what the tests beside them say: images in, verdicts out.

    It needs no registry, and no server: it is for the repository that has the
    policy. docs/lifecycle.md describes the files. Exit status 1 when something
    is not as expected, with what became of it and why.

    Examples:
      entrepot lifecycle test app.test.json
      entrepot lifecycle test policies/*.test.json --json | jq .failed
    """
    config, _ = load_config(config_file)
    tested = [_run(file, is_strict=config.lifecycle_keys == "ecr") for file in files]
    failed = sum(each.failed for each in tested)
    if as_json:
        print_json({"failed": failed, "files": [_document(each) for each in tested]})
    else:
        _print(tested)
    if failed:
        raise typer.Exit(1)


def _run(file: str, *, is_strict: bool) -> _Tested:
    text = read_text(file)
    try:
        suite = parse_suite(text)
    except AssertionsInvalid as problem:
        raise Refused(f"{name_file(file)} is no test of a policy: {problem}") from None
    place, policy_text = _find_policy(file, suite)
    policy = check_policy(policy_text, place, is_strict=is_strict)
    cases = [(case.name, judge(case, policy)) for case in suite.cases]
    return _Tested(name_file(file), place if suite.policy_file else None, cases)


def _find_policy(file: str, suite: Suite) -> tuple[str, str]:
    """Where it is and its text; a path in a test is relative to the test's folder."""
    if not suite.policy_file:
        return f"the policy in {name_file(file)}", suite.policy_text
    folder = Path() if file == STDIN else Path(file).parent
    path = str(folder / suite.policy_file)
    return path, read_text(path)


def _print(tested: list[_Tested]) -> None:
    rows = [
        (each.file, name, judged.name, judged.expected, judged.actual, judged.reason)
        for each in tested
        for name, found in each.cases
        for judged in found
        if not judged.is_met
    ]
    if rows:
        print_table(("FILE", "TEST", "IMAGE", "EXPECTED", "ACTUAL", "REASON"), rows)
    for each in tested:
        total = show_count(len(each.judged), "expectation")
        tests = show_count(len(each.cases), "test")
        outcome = f"{each.failed} not met" if each.failed else "all are met"
        typer.echo(f"{each.file}: {tests}, {total}: {outcome}")


def _document(tested: _Tested) -> dict[str, object]:
    return {
        "file": tested.file,
        "policy": tested.policy,
        "failed": tested.failed,
        "tests": [
            {
                "name": name,
                "expectations": [
                    {
                        "image": each.name,
                        "expected": each.expected,
                        "actual": each.actual,
                        "reason": each.reason,
                        "met": each.is_met,
                    }
                    for each in judged
                ],
            }
            for name, judged in tested.cases
        ],
    }

"""What the tests of the access commands look at: documents, files, the audit log."""

import json
from pathlib import Path
from typing import Any

from tests.cli.running import entrepot

PASSWORD = "correct horse battery"  # noqa: S105 - of nobody but these tests


def done(*arguments: str, stdin: bytes = b"") -> str:
    """Run a command that succeeds. Returns its standard output."""
    outcome = entrepot(*arguments, stdin=stdin)
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout


def refused(*arguments: str, stdin: bytes = b"") -> str:
    """Run a command that is refused. Returns why."""
    outcome = entrepot(*arguments, stdin=stdin)
    assert (outcome.status, outcome.stdout) == (1, ""), outcome
    assert outcome.stderr.startswith("entrepot: ")
    return outcome.stderr.removeprefix("entrepot: ").removesuffix("\n")


def listed(noun: str) -> dict[str, Any]:
    """What `entrepot NOUN list --json` says of each, by name."""
    document = json.loads(done(noun, "list", "--json"))
    return {each["name"]: each for each in document[f"{noun}s"]}


def audited(*options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done("audit", "--json", *options).splitlines()]


def lists() -> str:
    """Everything that the commands show of users and robots."""
    shown = [done(noun, "list", *flag) for noun in ("user", "robot", "group", "trust") for flag in ([], ["--json"])]
    return "\n".join([*shown, done("audit"), done("audit", "--json")])


def is_in_files(data: Path, secret: str) -> bool:
    """Whether any file below `data` has the secret in it."""
    return any(secret.encode() in path.read_bytes() for path in data.rglob("*") if path.is_file())

"""docs/lifecycle.md: every command in it does what the page says."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from registry.cli.app import load
from registry.config import PREFIX, Config
from tests.cli.aged import Aged, fill_aged
from tests.cli.running import entrepot

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "lifecycle.md").read_text()
BLOCK = re.compile(r"^```(\S+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STOPPED = "entrepot lifecycle run"  # the one command of the page that ends with 1, for the brake stops it

APP = (
    *(Aged(f"release {number}", 200 - 20 * number, [f"v1.{number}"]) for number in range(6)),
    *(Aged(f"pull request {number}", 30 - number, [f"pr-{number}"]) for number in range(1, 10)),
    Aged("pull request 10", 2, ["pr-10"]),
    *(Aged(f"old main {number}", 32 - number) for number in range(3)),
    Aged("main", 1, ["main", "latest"]),
)


def blocks(language: str) -> list[tuple[str, str]]:
    """The name and the text of each block."""
    return [(name, text) for found, name, text in BLOCK.findall(PAGE) if found == language]


def console() -> list[tuple[str, list[str]]]:
    """Each command of the page, with the lines that it shows."""
    commands: list[tuple[str, list[str]]] = []
    for _, text in blocks("console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            else:
                commands[-1][1].append(line)
    return commands


def normal(line: str) -> str:
    """Without what differs each time: digests, instants, seconds, users, the width of columns."""
    line = re.sub(r"sha256:[0-9a-f]+", "DIGEST", line)
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "INSTANT", line)
    line = re.sub(r"cli:\S+", "cli:USER", line)
    line = re.sub(r"( days) \d+ (?:seconds?|minutes?) ago", r"\1 ago", line)
    return " ".join(line.split())


def test_every_command_does_what_the_page_says(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top to the bottom, on the repository that the page speaks of."""
    fill_aged(data, APP)
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("json"):
        (tmp_path / name).write_text(text)
    for command, shown in console():
        program, *arguments = shlex.split(command)
        assert program == "entrepot"
        outcome = entrepot(*arguments)
        assert outcome.status == (1 if command == STOPPED else 0), (command, outcome)
        said = {normal(line) for line in (outcome.stdout + outcome.stderr).splitlines()}
        missing = [line for line in shown if line != "..." and normal(line) not in said]
        assert missing == [], (command, outcome)


def test_commands_for_clocks_are_among_them() -> None:
    """What cron, systemd and Kubernetes run is a command that the page shows, and so has been run."""
    commands = {command for command, _ in console()}
    clocks = [text for language in ("crontab", "ini", "yaml") for _, text in blocks(language)]
    found = {
        f"entrepot {words}"
        for text in clocks
        for words in re.findall(r"entrepot,? ((?:[a-z-]+,? ?)+)\]?$", text.replace(", ", " "), re.MULTILINE)
    }
    assert len(clocks) == 3
    assert found == {"entrepot lifecycle run"} <= commands


def test_every_mentioned_command_and_setting_is_there() -> None:
    """Also in the text between the examples."""
    for noun, verb in re.findall(r"`entrepot ([a-z]+) ([a-z]+)", PAGE):
        assert verb in load(noun).commands, (noun, verb)
    named = set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", PAGE))
    assert named <= {f"{PREFIX}{name}".upper() for name in Config.model_fields} | {f"{PREFIX}CONFIG"}


def test_every_file_is_json() -> None:
    """And has a name, under which a command of the page uses it."""
    commands = " ".join(command for command, _ in console())
    for name, text in blocks("json"):
        assert json.loads(text), name
        assert name in commands, name


def test_the_picture_is_there() -> None:
    """It is well-formed, says in words what it shows, and has colors for dark pages."""
    (path,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
    picture = (DOCS / path).read_text()
    root = ET.fromstring(picture)  # noqa: S314 - our own file
    names = [element.tag.rpartition("}")[2] for element in root]
    assert names[:2] == ["title", "desc"]
    assert "prefers-color-scheme: dark" in picture
    targets = re.findall(r"\]\(#([a-z-]+)\)", PAGE)
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)}
    assert set(targets) <= headings

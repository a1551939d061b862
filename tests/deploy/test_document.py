"""docs/deploy.md leads to what is there."""

import re

from registry.cli.app import NOUNS

from .files import DEPLOY, DOCUMENT, units

TEXT = DOCUMENT.read_text()


def test_links() -> None:
    """A link leads to a file of the project, or to a heading of the document."""
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT)
    headings = {f"#{title.lower().replace(' ', '-')}" for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)}
    assert [link for link in links if link[0] == "#" and link not in headings] == []
    assert [link for link in links if link[0] != "#" and not (DOCUMENT.parent / link).exists()] == []


def test_everything_is_told_of() -> None:
    """Each folder and file of deploy/ that a person uses is named."""
    parts = [
        path.name for path in DEPLOY.iterdir() if path.name not in ("nginx-tls.conf", "compose.tls.yaml", "secrets")
    ]
    assert [name for name in parts if f"deploy/{name}" not in TEXT] == []


def test_commands() -> None:
    """Units and document call commands that there are."""
    called = [command for unit in units("service") for command in unit.all("ExecStart")]
    nouns = set(re.findall(r"(?:bin/|[`$] |`|-- |registry-1 )entrepot ([a-z]+)", "\n".join([*called, TEXT])))
    assert {"serve", "lifecycle", "backup", "user"} <= nouns
    assert nouns - NOUNS.keys() == set()

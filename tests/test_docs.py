"""The documents say what is there: the tree, the settings, the commands, the targets."""

import ast
import re
from pathlib import Path

import pytest

from registry.cli.app import NOUNS, load
from registry.config import PREFIX, Config

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
ARCHITECTURE = (PROJECT / "ARCHITECTURE.md").read_text()
MAKEFILE = (PROJECT / "Makefile").read_text()

# Variables that are no settings of the server: where its file is, and where CI keeps what it has built.
OTHER_VARIABLES = {"ENTREPOT_CONFIG", "ENTREPOT_CACHE"}


def fenced_blocks(text: str) -> list[str]:
    return re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def listed_tree() -> list[str]:
    """The paths in ARCHITECTURE.md's block: the first word of each line, below the folder that its indentation says."""
    block = next(block for block in fenced_blocks(ARCHITECTURE) if block.startswith("storage/"))
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in block.splitlines():
        indentation, word = len(line) - len(line.lstrip()), line.split()[0]
        while folders and folders[-1][0] >= indentation:
            folders.pop()
        path = (folders[-1][1] if folders else "") + word
        if word.endswith("/"):
            folders.append((indentation, path))
        else:
            paths.append(path)
    return paths


def test_tree() -> None:
    """The tree in ARCHITECTURE.md is the tree there is: no file too many, none too few, none twice."""
    sources = (path for folder in ("storage", "registry") for path in (PROJECT / folder).rglob("*"))
    real = [
        path.relative_to(PROJECT).as_posix()
        for path in sources
        if path.is_file() and "__pycache__" not in path.parts and path.name != "__init__.py"
    ]
    assert sorted(listed_tree()) == sorted(real)


def test_what_architecture_names_is_there() -> None:
    """Every module, and every method of a class, that ARCHITECTURE.md names exists."""
    modules = set(re.findall(r"`((?:\w+/)*\w+\.py)`", ARCHITECTURE))
    assert modules
    assert [name for name in modules if not any((PROJECT / top / name).exists() for top in ("", "registry"))] == []
    methods = {
        f"{node.name}.{inner.name}"
        for path in (PROJECT / "registry").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = set(re.findall(r"`([A-Z]\w+\.[a-z_]+)`", ARCHITECTURE))
    assert named
    assert named - methods - {"ARCHITECTURE.md"} == set()


def settings_table() -> dict[str, str]:
    """README's settings, each with its default."""
    return dict(re.findall(rf"^\| `({PREFIX}\w+)` \|(.*?)\|", README, re.MULTILINE))


def test_settings() -> None:
    """README's table has exactly the settings there are."""
    assert settings_table().keys() == {f"{PREFIX}{name}".upper() for name in Config.model_fields}


@pytest.mark.parametrize("name", Config.model_fields)
def test_default(name: str) -> None:
    """A setting's default stands in README as it is."""
    documented = settings_table()[f"{PREFIX}{name}".upper()].strip(" `")
    default = getattr(Config(), name)
    if name in ("storage", "database"):
        assert (default, "DATA/" in documented) == ("", True)
    elif isinstance(default, Path):
        assert Path(documented) == default
    else:
        assert documented == ("" if default is None else str(default))


@pytest.mark.parametrize("path", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Dockerfile", "Makefile"])
def test_no_other_variables(path: str) -> None:
    """What a document or a build file sets is a setting: a misspelt one would be refused at start."""
    named = set(re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z0-9]", (PROJECT / path).read_text()))
    known = {f"{PREFIX}{name}".upper() for name in Config.model_fields} | OTHER_VARIABLES
    assert named - known == set()


def test_commands() -> None:
    """README lists every command with each of its subcommands, and no other."""
    block = next(block for block in fenced_blocks(README) if block.startswith("entrepot "))
    listed: dict[str, set[str]] = {}
    for line in block.splitlines():
        noun, rest = re.fullmatch(r"entrepot (\w+)(?: (.*))?", line).groups()  # type: ignore[union-attr]
        alternatives = [part.split()[0] for part in (rest or "").split(" | ") if part.split()]
        listed[noun] = set(alternatives)
    assert listed.keys() == NOUNS.keys()
    for noun in NOUNS:
        if commands := getattr(load(noun), "commands", {}):
            assert listed[noun] == set(commands), noun


def test_make_targets() -> None:
    """Every target that a person may call is explained by `make help`; those that README names exist."""
    targets = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE))
    assert explained == targets
    named = set(re.findall(r"(?:`|^\$ |&& )make ([a-z-]+)", README, re.MULTILINE))
    assert {"serve", "test", "check", "help"} <= named <= targets


@pytest.mark.parametrize("path", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_links(path: str) -> None:
    """A link to a file of the project leads to one."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (PROJECT / path).read_text())
    assert [link for link in links if not (PROJECT / link).exists()] == []


def test_changelog_begins_with_what_comes() -> None:
    """Changes since the last release stand first."""
    headings = re.findall(r"^## (.*)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0].strip("[]") == "Unreleased"

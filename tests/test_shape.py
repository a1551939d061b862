"""The shape of the source: sizes, names, docstrings, and imports without effect."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = ("storage", "registry", "tests", "conformance", "benchmarks")
PATHS = sorted(path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py"))
MOST_LINES = 400
MOST_FUNCTION_LINES = 50

# Words that say nothing of what a thing is. A test's name is a sentence, so it may have them.
EMPTY_WORDS = {"manager", "handler", "helper", "util", "common", "base", "impl", "data", "info", "process"}
EMPTY_WORDS |= {f"{word}s" for word in EMPTY_WORDS} | {"processes"}
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# Where such a word is the name of the thing itself.
NAMED_BY_OTHERS = {
    ("benchmarks/load.py", "data_received"),  # asyncio.Protocol's
    ("registry/edge/connection.py", "data_received"),  # the same
    ("tests/cli/conftest.py", "data"),  # the setting ENTREPOT_DATA
    ("tests/image/context.py", "base_archive"),  # the Dockerfile's BASE
    ("tests/image/container.py", "process"),  # the operating system's
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {relative(path): ast.parse(path.read_text()) for path in PATHS}


def test_modules_are_short() -> None:
    """No module has more than 400 lines."""
    lines = {relative(path): len(path.read_text().splitlines()) for path in PATHS}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
    assert len(lines) > 100, "the folders are looked at"


def test_functions_are_short(trees: dict[str, ast.Module]) -> None:
    """No function has 50 lines or more, its decorators, which may hold a table of cases, not counted."""
    long = {
        f"{path}:{function.name}": count
        for path, tree in trees.items()
        for function in functions(tree)
        if (count := (function.end_lineno or 0) - function.lineno + 1) >= MOST_FUNCTION_LINES
    }
    assert long == {}


def test_imports_stand_at_the_top(trees: dict[str, ast.Module]) -> None:
    """No function imports anything: what a module needs, its first lines say."""
    inside = [
        f"{path}:{node.lineno}"
        for path, tree in trees.items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


def test_names_say_something(trees: dict[str, ast.Module]) -> None:
    """No module, class or function is named by a word that fits everything."""
    found = set()
    for path, tree in trees.items():
        definitions = [node.name for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef)]
        names = [name for name in definitions if not name.startswith("test_")] + list(Path(path).with_suffix("").parts)
        found |= {(path, name) for name in names if {word.lower() for word in WORDS.findall(name)} & EMPTY_WORDS}
    assert found - NAMED_BY_OTHERS == set()
    assert NAMED_BY_OTHERS - found == set(), "an exception that nobody needs any more"


def test_every_module_says_what_it_owns(trees: dict[str, ast.Module]) -> None:
    """Every module that is not empty begins with a docstring, and so does every folder of the product."""
    assert [path for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []
    folders = {path.parent for path in PATHS if relative(path).startswith(("storage/", "registry/"))}
    assert [relative(folder) for folder in folders if not (folder / "__init__.py").read_text().strip()] == []


def test_every_test_says_what_is_true(trees: dict[str, ast.Module]) -> None:
    """Every test function has a docstring."""
    silent = [
        f"{path}:{function.name}"
        for path, tree in trees.items()
        for function in functions(tree)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_no_test_is_skipped_or_sleeps(trees: dict[str, ast.Module]) -> None:
    """Tests run or fail: none is skipped, none is expected to fail, none waits for time to pass."""
    words = ("pytest.skip(", "mark.skip", "mark.xfail", "importorskip", "unittest.mock")
    found = [
        f"{relative(path)}: {word}"
        for path in PATHS
        if path.name != "test_shape.py"
        for word in words
        if word in path.read_text()
    ]
    assert found == []
    assert "tests/test_shape.py" in trees


def test_imports_have_no_effect() -> None:
    """To import any module opens nothing for writing, starts no thread and no process, and connects to nothing."""
    command = [sys.executable, "-B", "-m", "tests.importing"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert {"registry.app", "registry.cli.app", "storage.filesystem", "conformance.run"} <= set(found["modules"])
    assert found["effects"] == []
    assert found["threads"] == 1

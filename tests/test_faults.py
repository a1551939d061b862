"""The faults of object store, database and replicas that are injected for real: each row has its tests.

.venv/bin/pytest -m fault                 all of them
grep -rn 'fault(.*"F47"' tests            those of one row
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
NOT_IN_MAKE_TEST = {"clients", "faults", "image", "soak"}
# What is injected, and what must hold then.
ROWS = {
    "F25": "the store says SlowDown, or fails: few retries, then 503 with Retry-After",
    "F26": "the store's answer is lost after success: what is there counts",
    "F27": "the store says 200 with an error in its body: that is a failure",
    "F28": "a body from the store is cut: no client gets a short one that seems whole",
    "F29": "credentials expire, or the clock is wrong: a clear error, and on it goes",
    "F30": "parts are left behind by a kill: they go, those of living uploads stay",
    "F31": "the bucket is gone, or another one: no damage is noted",
    "F32": "the store lists late, or knows no conditions: nothing relies on that",
    "F33": "the store takes calls and never answers: nobody else waits",
    "F34": "a presigned URL has expired, or cannot be reached: the next try works",
    "F35": "SQLite is locked by another program, or read for long: a bounded wait",
    "F36": "PostgreSQL: races, time-outs, failover, restart, a lost answer to COMMIT",
    "F37": "the database is not there at the start, or later: nobody gets in who may not",
    "F38": "database or store are restored from an older backup: told, and kept",
    "F39": "a server reads what another has just written",
    "F40": "the two databases differ: the registry's answers do not",
    "F41": "many push one blob at once: all 201, one copy",
    "F42": "a tag moves all the time while it is read, listed and deleted: always whole",
    "F43": "the collector meets each step of a push: 404 before a 201, never after",
    "F44": "a blob is deleted and removed while it is pulled: the pull ends, or visibly breaks",
    "F45": "a policy's run meets pushes, retags and pulls, or wrong instants: the brake holds",
    "F46": "an upload wanders from server to server, and one of them dies",
    "F47": "a server freezes while it holds something, and goes on: its late write fails",
    "F48": "one server is cut off from database or store: 503, and nothing by memory",
    "F49": "two collectors, two runs, two migrations at once: as one would",
    "F50": "two versions at once under load: nobody is refused anything",
}


def marks(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """The rows that each test names, and a module for all its tests."""
    of_all = [node.value for node in tree.body if isinstance(node, ast.Assign) and named(node) == "pytestmark"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            calls = [call for part in (*node.decorator_list, *of_all) for call in ast.walk(part)]
            yield node.name, [row for call in calls if isinstance(call, ast.Call) for row in rows_of(call)]


def named(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])


def rows_of(call: ast.Call) -> list[str]:
    if ast.unparse(call.func) != "pytest.mark.fault":
        return []
    return [ast.literal_eval(argument) for argument in call.args]


@cache
def find_marks() -> list[tuple[str, list[str]]]:
    paths = (path for path in TESTS.rglob("test_*.py") if path.relative_to(TESTS).parts[0] not in NOT_IN_MAKE_TEST)
    return [mark for path in sorted(paths) for mark in marks(ast.parse(path.read_text()))]


def test_each_row_has_a_test() -> None:
    """And each test that names one names one that there is."""
    assert list(ROWS) == [f"F{number}" for number in range(25, 51)]
    assert {row for _, rows in find_marks() for row in rows} == set(ROWS)


def test_names_and_marks_agree() -> None:
    """A test whose name has a row's number is marked with it."""
    for name, rows in find_marks():
        if number := re.match(r"test_f(\d\d)_", name):
            assert f"F{number[1]}" in rows, name

"""Every SQL statement in the source of registry/metadata, found by reading it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "registry" / "metadata"
_RUNNERS = ("run", "one", "only", "each", "each_large", "execute")


@dataclass(frozen=True, slots=True)
class Statement:
    """`text` is None where the source does not say it: `argument` is what it says instead."""

    place: str
    argument: str
    text: str | None


def find_statements() -> list[Statement]:
    return [statement for path in sorted(FOLDER.glob("*.py")) for statement in _in_module(path)]


def _in_module(path: Path) -> Iterator[Statement]:
    tree = ast.parse(path.read_text())
    constants = dict(_constants(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _runs_sql(node.func) and node.args:
            place = f"{path.name}:{node.lineno}"
            yield Statement(place, ast.unparse(node.args[0]), _text(node.args[0], constants))


def _runs_sql(function: ast.Attribute) -> bool:
    return function.attr in _RUNNERS and ast.unparse(function.value) != "job"  # a job runs a transaction, no SQL


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Texts under names in capitals at the top of the module, assigned once."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id.isupper():
                    yield target.id, node.value.value


def _text(node: ast.expr, constants: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.FormattedValue):
        is_plain = node.conversion == -1 and node.format_spec is None
        return _text(node.value, constants) if is_plain else None
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part, constants) for part in node.values]
        return "".join(part for part in parts if part is not None) if None not in parts else None
    return None

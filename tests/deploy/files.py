"""The files in deploy/, read as what they are."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = DEPLOY / "systemd"
VARIANTS = ("replicas", "single")
DOCUMENT = PROJECT / "docs" / "deploy.md"


def read_project() -> Any:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def manifests(variant: str) -> Iterator[Any]:
    """Every object that kustomize would make, as it stands in the files."""
    folder = KUBERNETES / variant
    for name in kustomization(variant)["resources"]:
        yield from yaml.safe_load_all((folder / name).read_text())


def kustomization(variant: str) -> Any:
    return yaml.safe_load((KUBERNETES / variant / "kustomization.yaml").read_text())


def only(variant: str, kind: str) -> Any:
    """The one object of a kind."""
    found = [manifest for manifest in manifests(variant) if manifest["kind"] == kind]
    assert len(found) == 1, kind
    return found[0]


@dataclass(frozen=True)
class Unit:
    """The lines of a systemd unit, in their order: section, option, value."""

    name: str
    lines: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, path: Path) -> "Unit":
        section, lines = "", []
        for text in path.read_text().splitlines():
            if match := re.fullmatch(r"\[(\w+)\]", text):
                section = match[1]
            elif match := re.fullmatch(r"(\w+)=(.*)", text):
                lines.append((section, match[1], match[2]))
            else:
                assert not text or text.startswith("#"), text
        return cls(path.name, tuple(lines))

    def all(self, option: str) -> list[str]:
        return [value for _, name, value in self.lines if name == option]

    def one(self, option: str) -> str:
        (value,) = self.all(option)
        return value


def units(suffix: str) -> list[Unit]:
    return [Unit.read(path) for path in sorted(UNITS.glob(f"*.{suffix}"))]

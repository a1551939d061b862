"""A registry's directory that the commands of a test find in the environment."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.content import fill
from tests.places import environment, look_into
from tests.stored import Stored


@dataclass(frozen=True, slots=True)
class Filled:
    """`data` holds demo/app, whose tag `1` moved from the first of `manifests` to the second, and demo/base."""

    data: Path
    manifests: list[str]
    stored: Stored


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the registry of this test is, or will be."""
    for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "data"
    for name, value in environment(path).items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def filled(data: Path) -> Filled:
    return Filled(data, asyncio.run(fill(data)).manifests, look_into(data))

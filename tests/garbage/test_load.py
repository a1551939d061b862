"""Some seconds of pushes and pulls beside a collector that waits for nothing; `make soak` has minutes of it."""

from pathlib import Path

import pytest

from tests.garbage.load import Load

pytestmark = pytest.mark.timeout(300)  # seconds: a minute on a slow store

SECONDS = 12
LEAST = {"pushed": 20, "pulled": 20, "deleted": 5}  # or it was no load


def test_load_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """What is acknowledged stays whole at every moment, and at the end no byte is left that nothing names."""
    load = Load(tmp_path / "registry", seed=1)
    assert load.run(SECONDS, least=LEAST) == []
    assert {deed: load.shelf.counts[deed] for deed in LEAST if load.shelf.counts[deed] <= LEAST[deed]} == {}

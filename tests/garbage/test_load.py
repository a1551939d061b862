"""Some seconds of pushes and pulls beside a collector that waits for nothing; `make soak` has minutes of it."""

from pathlib import Path

from tests.garbage.load import Load

SECONDS = 12


def test_load_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """What is acknowledged stays whole at every moment, and at the end no byte is left that nothing names."""
    load = Load(tmp_path / "registry", seed=1)
    assert load.run(SECONDS) == []
    assert min(load.shelf.counts[what] for what in ("pushed", "pulled", "deleted")) > 2  # each has been done at all

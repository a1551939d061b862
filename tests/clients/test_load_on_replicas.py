"""Half a minute of real clients before replicas that are killed; `make soak` has ten minutes."""

from pathlib import Path

from .load import run

SEED = 1
SECONDS = 24
SECONDS_BETWEEN = 8
CUSTOMERS = 4


def test_load_loses_nothing_and_leaves_nothing(workspace: Path) -> None:
    """What a client was told is so until the end, every byte is right, and no object is left that nothing names."""
    faults, record = run(workspace / "load", SEED, SECONDS, SECONDS_BETWEEN)
    assert faults == []
    assert record.counts["replicas killed"] == 2
    for what in ("pushes", "pulls", "tags", "deletes", "images compared at the end"):
        assert record.counts[what] >= CUSTOMERS, record.counts

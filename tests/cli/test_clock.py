"""The server's built-in clock: `entrepot lifecycle run` by itself."""

import json
from pathlib import Path
from typing import Any

from registry.app import Registry
from tests.cli.conftest import Filled
from tests.cli.running import Server, entrepot, serving
from tests.places import make_config
from tests.waiting import wait_until

OFTEN = "0.0001"  # hours
POLICY = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "expire"},
        }
    ]
}


def find_runs(log: Path) -> list[dict[str, Any]]:
    """The log's lines about runs that have ended."""
    lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [found for found in map(json.loads, lines) if found["event"] == "lifecycle run"]


def test_the_server_runs_the_due_policies(filled: Filled, tmp_path: Path) -> None:
    """By itself, again and again, each time with a summary in its log; the runs are kept as anybody's."""
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    assert entrepot("lifecycle", "set", "demo/app", str(policy)).status == 0
    log = tmp_path / "log"
    with serving(filled.data, log, ENTREPOT_LIFECYCLE_HOURS=OFTEN):
        wait_until(lambda: len(find_runs(log)) > 1, "two runs")
    first, second = find_runs(log)[:2]
    assert (first["level"], second["level"]) == ("info", "info")
    assert first["summary"].startswith("1 policy looked at")
    assert second["summary"].startswith("0 policies looked at")


def test_a_server_that_ends_takes_its_run_with_it(filled: Filled, tmp_path: Path) -> None:
    """It ends in order while one runs, and leaves none behind."""
    server = Server(filled.data, tmp_path / "log", ENTREPOT_LIFECYCLE_HOURS=OFTEN)
    server.wait_listening()
    children = Path(f"/proc/{server.program.pid}/task/{server.program.pid}/children")
    found: set[str] = set()

    def is_running() -> bool:
        found.update(children.read_text().split())
        return bool(found)

    wait_until(is_running, "a run")
    server.program.terminate()
    assert server.program.wait(30) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in found)


def test_it_never_runs_unless_told(data: Path) -> None:
    """Without the setting there is no such duty."""
    registries = [Registry(make_config(data, lifecycle_hours=hours)) for hours in (0, 24)]
    assert [["lifecycle" in {duty.name for duty in each.list_duties()}] for each in registries] == [[False], [True]]
    for each in registries:
        each.close()

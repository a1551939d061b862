"""deploy/systemd as systemd itself reads it: no line that it does not know, and services that are confined."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = sorted(path.name for path in UNITS.iterdir() if path.suffix in (".service", ".timer"))
MOST_EXPOSED = 2.0  # of 10; a service without any protection has 9.6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, calling this project's own command: systemd wants programs to exist."""
    folder = tmp_path_factory.mktemp("units")
    command = shutil.which("entrepot", path=str(Path(sys.executable).parent))
    assert command
    for name in NAMES:
        (folder / name).write_text((UNITS / name).read_text().replace("/opt/entrepot/bin/entrepot", command))
    return folder


def analyze(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0", "SYSTEMD_EMOJI": "0"}
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_units_are_understood(folder: Path, name: str) -> None:
    """Nothing in a unit is unknown to systemd, or means nothing to it."""
    said = analyze(folder, "verify", "--man=no", str(folder / name))
    assert [line for line in said.splitlines() if str(folder) in line or "entrepot" in line] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".service")])
def test_services_are_confined(folder: Path, name: str) -> None:
    """What a service could do to the system if it were taken over is little, as systemd counts it."""
    said = analyze(folder, "security", "--offline=true", "--no-pager", str(folder / name))
    level = re.search(r"exposure level for .*: ([0-9.]+)", said)
    assert level, said
    assert float(level[1]) <= MOST_EXPOSED

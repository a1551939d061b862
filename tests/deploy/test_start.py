"""deploy/start, with a program in docker's place that notes how it was called."""

import configparser
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from .files import DEPLOY, compose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of deploy/ without secrets, and the program beside it."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    docker.chmod(0o755)
    return tmp_path


def start(folder: Path, *arguments: str, script: str = "start") -> str:
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = [str(folder / "deploy" / script), *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def secrets(folder: Path) -> dict[str, str]:
    files = (folder / "deploy" / "secrets").iterdir()
    return {path.name: path.read_text() for path in files if not path.name.startswith(".")}


def test_start(folder: Path) -> None:
    """It makes every secret that the compose file names, starts it, and says where the password is."""
    printed = start(folder, "--force-recreate")
    assert "deploy/secrets/admin_password" in printed
    assert (folder / "called").read_text() == "compose --file compose.yaml up --detach --build --force-recreate\n"
    made = secrets(folder)
    assert made.keys() == compose()["secrets"].keys()
    assert all(made.values())
    assert made["admin_password"] not in printed


def test_secrets_fit_together(folder: Path) -> None:
    """What one container is told is what the other one expects."""
    start(folder)
    made = secrets(folder)
    database, s3 = configparser.ConfigParser(), configparser.ConfigParser()
    database.read_string(made["database"])
    s3.read_string(made["s3_credentials"])
    assert database["entrepot"]["password"] == made["database_password"].strip()
    (identity,) = json.loads(made["s3_server"])["identities"]
    assert identity["credentials"] == [
        {"accessKey": s3["default"]["aws_access_key_id"], "secretKey": s3["default"]["aws_secret_access_key"]}
    ]
    assert len({made["admin_password"], made["database_password"], s3["default"]["aws_secret_access_key"]}) == 3


def test_again(folder: Path) -> None:
    """A second start keeps the secrets that are there, and makes those that are not."""
    start(folder)
    before = secrets(folder)
    (folder / "deploy" / "secrets" / "admin_password").unlink()
    start(folder)
    after = secrets(folder)
    assert after.pop("admin_password") != before.pop("admin_password")
    assert after == before


def test_who_reads_them(folder: Path) -> None:
    """Nobody else enters the directory, containers read its files as whoever they are, and git takes none."""
    start(folder)
    made = folder / "deploy" / "secrets"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE((made / name).stat().st_mode) for name in secrets(folder)} == {0o644}
    assert (made / ".gitignore").read_text() == "*\n"


def test_certificate(folder: Path) -> None:
    """Where a certificate is there it serves HTTPS, too, and goes on doing so after an upgrade."""
    start(folder)
    for name in ("tls.crt", "tls.key"):
        (folder / "deploy" / "secrets" / name).touch(0o600)
    (folder / "called").unlink()
    start(folder)
    start(folder, script="upgrade")
    files = "compose --file compose.yaml --file compose.tls.yaml "
    assert all(line.startswith(files) for line in (folder / "called").read_text().splitlines())
    assert stat.S_IMODE((folder / "deploy" / "secrets" / "tls.key").stat().st_mode) == 0o644


def test_upgrade(folder: Path) -> None:
    """An upgrade replaces one replica after the other, each when the one before it is healthy."""
    start(folder, script="upgrade")
    replicas = [name for name in compose()["services"] if name.startswith("registry")]
    expected = ["build", *(f"up --detach --no-deps --wait {name}" for name in replicas)]
    assert (folder / "called").read_text().splitlines() == [f"compose --file compose.yaml {line}" for line in expected]

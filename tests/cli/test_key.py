"""`entrepot key`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from registry.metadata import signing_keys
from registry.metadata.signing_keys import SigningKey
from tests.cli.access import audited, done, refused
from tests.cli.running import serving
from tests.kill.client import Client
from tests.places import open_database


@pytest.fixture(autouse=True)
def alice() -> None:
    """A registry with an admin."""
    done("user", "add", "alice", "--admin")


def test_one_key_signs() -> None:
    """A new registry has one, which has no end yet."""
    (key,) = keys()
    assert (key["state"], key["ends_at"]) == ("signs", None)
    header, line = done("key", "list").splitlines()
    assert header.split() == ["KEY", "MADE", "AT", "STATE"]
    assert line.split()[0] == key["kid"]


def test_a_replaced_key_goes_on_verifying() -> None:
    """It ends two hours later, unless all tokens shall end at once; the log knows who did it."""
    (first,) = keys()
    said = done("key", "rotate")
    retired, second = keys()
    assert (retired["kid"], retired["state"], second["state"]) == (first["kid"], "verifies", "signs")
    assert said == f"key {second['kid']} signs from now on\n"
    assert f"verifies until {retired['ends_at'][:16]}" in done("key", "list")
    done("key", "rotate", "--at-once")
    (third,) = keys()
    assert third["kid"] not in {first["kid"], second["kid"]}
    rotations = audited("--action", "key.")
    assert [(line["subject"], line.get("detail")) for line in rotations] == [
        (second["kid"], None),
        (third["kid"], "at once"),
    ]


def test_a_running_server_takes_the_new_key(data: Path, tmp_path: Path) -> None:
    """Its public keys are those of the list with the next request."""
    with serving(data, tmp_path / "log") as line, Client(int(str(line["port"]))) as client:
        done("key", "rotate", "--at-once")
        client.call("GET", "/v2/")
        answer = client.call("GET", "/.well-known/jwks.json")
        assert [key["kid"] for key in json.loads(answer.content)["keys"]] == [key["kid"] for key in keys()]


def test_no_private_key_is_shown(data: Path) -> None:
    """Neither list has anything of it."""
    (row,) = asyncio.run(rows(data))
    shown = done("key", "list") + done("key", "list", "--json") + done("audit", "--json")
    assert row.private_key.hex() not in shown
    assert set(keys()[0]) == {"kid", "created_at", "state", "ends_at"}


def test_a_damaged_key_can_be_replaced(data: Path) -> None:
    """The command that the message names works, and others do not need the key."""
    asyncio.run(damage(data))
    assert "replace it with entrepot key rotate --at-once" in refused("key", "list")
    done("user", "list")
    done("key", "rotate", "--at-once")
    assert len(keys()) == 1


def keys() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done("key", "list", "--json"))["keys"]
    return found


async def rows(data: Path) -> list[SigningKey]:
    database = open_database(data)
    try:
        return await database.read(signing_keys.list_keys)
    finally:
        database.close()


async def damage(data: Path) -> None:
    database = open_database(data)
    try:
        await database.write(lambda tx: tx.run("UPDATE signing_key SET private_key = :damaged", damaged=bytes(32)))
    finally:
        database.close()

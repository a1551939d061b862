"""`entrepot audit`."""

import asyncio
import base64
import json
import subprocess
from pathlib import Path

import pytest

from registry.app import Registry
from registry.identity import Actor, Deed
from registry.metadata import changes
from registry.metadata.changes import AccessEvent
from registry.metadata.database import Transaction
from tests.cli.access import audited, done
from tests.cli.conftest import Filled
from tests.cli.content import START
from tests.cli.running import PROGRAM, SECONDS, environment, program, serving
from tests.kill.client import Client
from tests.places import make_config

MALLORY = Actor("mallory", "192.0.2.1", "request-1")
MANY = 2_500  # more than two pages


def test_lines_say_who_did_what_from_where() -> None:
    """Each line is one JSON object; what does not apply is not in it."""
    done("user", "add", "bob")
    done("user", "grant", "bob", "acme/**", "pull,push", "--tags", "ci-*")
    lines = audited()
    assert [(line["action"], line["subject"], line.get("detail")) for line in lines] == [
        ("user.add", "bob", None),
        ("user.grant", "bob", "acme/** pull,push ci-*"),
    ]
    assert all(line["actor"].startswith("cli:") and line["at"].endswith("Z") for line in lines)
    assert all("repository" not in line and "address" not in line for line in lines)


def test_a_failed_login_is_there_with_its_address(data: Path, tmp_path: Path) -> None:
    """A server's line has the address, the request's id that the client got, and no password."""
    done("user", "add", "alice", "--admin")
    with serving(data, tmp_path / "log") as line, Client(int(str(line["port"]))) as client:
        credentials = base64.b64encode(b"alice:wrong-password").decode()
        answer = client.call("GET", "/v2/", headers={"Authorization": f"Basic {credentials}"})
        assert answer.status == 401
    (failure,) = audited("--action", "login.")
    assert (failure["subject"], failure["address"]) == ("alice", "127.0.0.1")
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert "wrong-password" not in done("audit") + done("audit", "--json")


def test_pushes_and_deletes_are_there(filled: Filled) -> None:
    """What clients changed has repository, tag and digest; all of it can be chosen by the beginning of its name."""
    tags = audited("--since", "2026-01-01", "--action", "tag.")
    assert [(line["repository"], line["tag"], line["actor"]) for line in tags] == [
        ("demo/app", "1", "bob"),
        ("demo/app", "1", "bob"),
        ("demo/base", "latest", "bob"),
    ]
    assert [line["digest"] for line in tags][:2] == filled.manifests
    assert audited("--since", "2026-01-01", "--action", "nothing") == []


def test_the_table_has_a_line_for_each(filled: Filled) -> None:
    """Who, from where, what, to what: one line each, a dash where nothing is known."""
    lines = done("audit", "--since", "2026-01-01", "--action", "tag.set").splitlines()
    assert lines[0].split() == ["AT", "WHO", "FROM", "ACTION", "WHAT", "DETAIL", "TIMES", "REQUEST"]
    assert lines[1].split() == [
        *("2026-01-01T00:00:00Z", "bob", "-", "tag.set", f"demo/app:1@{filled.manifests[0]}", "-", "1", "-")
    ]
    assert len(lines) == 4


@pytest.mark.usefixtures("filled")
def test_only_the_last_day_is_shown_unless_told() -> None:
    """Without --since it is 24 hours; an instant and a duration both go further back."""
    assert audited() == []
    assert done("audit").split() == ["AT", "WHO", "FROM", "ACTION", "WHAT", "DETAIL", "TIMES", "REQUEST"]
    assert audited("--since", "2026-01-01T00:02:00Z")
    assert len(audited("--since", "9999d")) > len(audited("--since", "2026-01-01T00:02:00Z"))


def test_all_pages_are_shown(data: Path) -> None:
    """A log of several pages comes whole and in order, its table with one header."""
    asyncio.run(write(data, [refusal(number) for number in range(MANY)]))
    lines = audited("--since", "2026-01-01")
    assert [line["detail"] for line in lines] == [str(number) for number in range(MANY)]
    assert lines[0] == {
        "sequence": 1,
        "at": "2026-01-01T00:00:00.000Z",
        "actor": "mallory",
        "address": "192.0.2.1",
        "request_id": "request-1",
        "action": "access.deny",
        "repository": "acme/app",
        "detail": "0",
        "times": 2,
    }
    table = done("audit", "--since", "2026-01-01").splitlines()
    assert len(table) == MANY + 1
    assert [number for number, line in enumerate(table) if line.startswith("AT")] == [0]


def test_what_others_wrote_stays_on_its_line(data: Path) -> None:
    """Line ends and escape sequences in the log do nothing to the terminal or to the lines."""
    asyncio.run(write(data, [AccessEvent(Deed(MALLORY, START), "access.deny", subject="a\n\x1b[2J", detail="[red]x")]))
    table = done("audit", "--since", "2026-01-01")
    assert len(table.splitlines()) == 2
    assert "a\\n\\x1b[2J" in table
    assert "[red]x" in table
    assert len(done("audit", "--since", "2026-01-01", "--json").splitlines()) == 1


def test_a_reader_may_stop(data: Path) -> None:
    """Where `head` has seen enough, nothing is complained about."""
    asyncio.run(write(data, [refusal(number) for number in range(MANY)]))
    with subprocess.Popen(
        [PROGRAM, "audit", "--since", "2026-01-01", "--json"],
        env=environment({"ENTREPOT_DATA": str(data)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reading:
        assert reading.stdout
        assert reading.stderr
        assert json.loads(reading.stdout.readline())["sequence"] == 1
        reading.stdout.close()
        assert reading.stderr.read() == ""
        reading.wait(SECONDS)


def test_the_program_prints_lines_of_json(filled: Filled) -> None:
    """A pipe gets nothing but lines of JSON, ASCII alone."""
    outcome = program("audit", "--since", "2026-01-01", "--json", ENTREPOT_DATA=str(filled.data))
    assert (outcome.status, outcome.stderr) == (0, "")
    assert all(json.loads(line) for line in outcome.stdout.splitlines())
    assert outcome.stdout.isascii()


def refusal(number: int) -> AccessEvent:
    return AccessEvent(Deed(MALLORY, START + number), "access.deny", "acme/app", detail=str(number), times=2)


async def write(data: Path, refusals: list[AccessEvent]) -> None:
    """Into the log of a new registry."""

    def work(tx: Transaction) -> None:
        for each in refusals:
            changes.append_event(tx, each)

    registry = Registry(make_config(data))
    try:
        await registry.start()
        await registry.database.write(work)
    finally:
        registry.close()

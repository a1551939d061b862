"""`entrepot robot`, and the words for when something ends."""

import asyncio
import re
from pathlib import Path

import pytest
import typer

from registry.app import Registry
from registry.cli.instants import Moment, parse_expiry, parse_since
from registry.cli.names import parse_grant
from registry.identity import Actor
from tests.cli.access import done, is_in_files, listed, lists, refused
from tests.cli.content import START
from tests.cli.running import entrepot
from tests.places import make_config

HOUR = 3_600_000  # milliseconds
DAY = 24 * HOUR
FOR_APP = ("--repository", "acme/**", "--actions", "pull,push")


@pytest.fixture(autouse=True)
def alice() -> None:
    """A registry with an admin."""
    done("user", "add", "alice", "--admin")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90m", START + 90 * 60_000),
        ("12h", START + 12 * HOUR),
        ("90d", START + 90 * DAY),
        ("2026-01-02", START + DAY),
        ("2026-01-02T00:00Z", START + DAY),
        ("2026-01-02 00:00:00", START + DAY),
        ("2026-01-02T02:00:00.5+02:00", START + DAY + 500),
        ("9999-12-31", 253_402_214_400_000),
        ("never", None),
    ],
)
def test_when_something_ends(text: str, at: int | None) -> None:
    """A duration counts from now, a date is its first moment in UTC, an instant has a zone or is UTC."""
    assert parse_expiry(text).after(START) == at


@pytest.mark.parametrize(
    ("text", "at"), [("24h", START - DAY), ("2026-01-01", START), ("1970-01-01", 0), ("999999d", 0)]
)
def test_since_when_something_is_shown(text: str, at: int) -> None:
    """A duration counts back from now, and not beyond the beginning of time."""
    assert parse_since(text).before(START) == at


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1",
            "0d",
            "-1d",
            "1.5h",
            "1w",
            "1D",
            " 1d",
            "1d ",
            "9999999d",
            "٣d",
            "2026-02-30",
            "2026-1-1",
            "20260101",
        ),
        *(
            "2026-W01",
            "1969-12-31",
            "0001-01-01T00:00+12:00",
            "9999-12-31T23:59-12:00",
            "2026-01-01T25:00Z",
            "tomorrow",
        ),
        *("2026-01-01T00:00+24:00", "Never"),
    ],
)
def test_what_is_no_instant(text: str) -> None:
    """Other units, other calendars, other digits and what no clock shows are wrong usage."""
    for parse in (parse_expiry, parse_since):
        with pytest.raises(typer.BadParameter):
            parse(text)


@pytest.mark.parametrize("moment", [Moment(START), Moment(START - 1), Moment(0)])
def test_what_has_ended_cannot_begin(moment: Moment) -> None:
    """An instant that is now or past is wrong usage."""
    with pytest.raises(typer.BadParameter, match="has gone"):
        moment.after(START)


def test_a_past_expiry_is_wrong_usage() -> None:
    """Status 2, and no robot is made."""
    outcome = entrepot("robot", "add", "ci", *FOR_APP, "--expires", "2020-01-01")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "2020-01-01T00:00:00Z has gone" in re.sub(r"[│\s]+", " ", outcome.stderr)
    assert listed("robot") == {}


def test_the_secret_is_printed_once(data: Path) -> None:
    """It is alone on standard output, and then nowhere: no list, no log and no file has it."""
    outcome = entrepot("robot", "add", "ci", *FOR_APP)
    assert outcome.status == 0
    secret = outcome.stdout.removesuffix("\n")
    assert re.fullmatch(r"entrepot_[A-Za-z0-9_-]{43}", secret)
    assert secret not in outcome.stderr + lists()
    assert not is_in_files(data, secret)


def test_adding_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line to copy names the registry as docker does; grant and expiry are told."""
    outcome = entrepot("robot", "add", "ci", *FOR_APP, "--tags", "ci-*", "--expires", "2999-01-01")
    assert "docker login -u ci --password-stdin 127.0.0.1:5000\n" in outcome.stderr
    assert "ci is granted acme/** pull,push (tags ci-*); it expires: 2999-01-01T00:00:00Z\n" in outcome.stderr
    monkeypatch.setenv("ENTREPOT_PUBLIC_URL", "https://registry.example")
    outcome = entrepot("robot", "rotate", "ci")
    assert "docker login -u ci --password-stdin registry.example\n" in outcome.stderr


def test_a_robot_expires_after_a_year_or_as_said() -> None:
    """Without a word it is 365 days; never is said by name."""
    done("robot", "add", "year", *FOR_APP)
    done("robot", "add", "ever", *FOR_APP, "--expires", "never")
    robots = listed("robot")
    assert robots["ever"]["expires_at"] is None
    assert robots["year"]["expires_at"] > robots["year"]["created_at"]
    year = int(robots["year"]["expires_at"][:4]) - int(robots["year"]["created_at"][:4])
    assert year in (0, 1)  # 0: on the first day of a leap year
    assert robots["year"]["grants"] == [{"repositories": "acme/**", "actions": ["pull", "push"], "tags": []}]


def test_the_list_says_who_expired(data: Path) -> None:
    """A robot is active, disabled or expired; the table says until when it works."""
    asyncio.run(add_expired(data))
    done("robot", "add", "off", *FOR_APP, "--expires", "never")
    done("robot", "disable", "off")
    lines = [line.split() for line in done("robot", "list").splitlines()]
    assert lines == [
        ["ROBOT", "GRANTS", "EXPIRES", "LAST", "USED", "STATE"],
        ["off", "acme/**", "pull,push", "never", "never", "disabled"],
        ["old", "acme/**", "pull", "2026-01-02T00:00:00Z", "never", "expired"],
    ]
    assert {name: robot["state"] for name, robot in listed("robot").items()} == {"off": "disabled", "old": "expired"}


def test_rotation_keeps_the_expiry_unless_told(data: Path) -> None:
    """A new secret is printed each time; one that has expired must be given another end."""
    first = done("robot", "add", "ci", *FOR_APP, "--expires", "2999-01-01")
    second = done("robot", "rotate", "ci")
    assert first != second
    assert listed("robot")["ci"]["expires_at"] == "2999-01-01T00:00:00.000Z"
    done("robot", "rotate", "ci", "--expires", "2999-02-01")
    assert listed("robot")["ci"]["expires_at"] == "2999-02-01T00:00:00.000Z"
    done("robot", "rotate", "ci", "--expires", "never")
    assert listed("robot")["ci"]["expires_at"] is None
    asyncio.run(add_expired(data))
    assert refused("robot", "rotate", "old").startswith("old has expired")
    done("robot", "rotate", "old", "--expires", "1d")
    assert listed("robot")["old"]["state"] == "active"


def test_a_robot_is_shut_out_and_removed() -> None:
    """Each verb can be said twice, but what was removed is gone."""
    done("robot", "add", "ci", *FOR_APP)
    for verb in ("disable", "enable"):
        assert [done("robot", verb, "ci") for _ in range(2)] == [f"robot ci is {verb}d\n"] * 2
    assert done("robot", "remove", "ci") == "robot ci is removed\n"
    assert refused("robot", "remove", "ci").startswith("there is no robot ci: `entrepot robot list`")
    assert refused("robot", "rotate", "alice").startswith("there is no robot alice (alice is a user)")


async def add_expired(data: Path) -> None:
    """A robot `old` that was good for the first day of 2026."""
    registry = Registry(make_config(data), clock=lambda: START)
    try:
        await registry.join()
        grant = parse_grant("acme/**", "pull", "")
        await registry.identities.add_robot("old", [grant], START + DAY, Actor("test"))
    finally:
        registry.close()

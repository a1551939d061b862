"""Who did what, from where, in which request: changes, failed logins and denials, written down and told once."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry.access.grants import Grant
from registry.audit import Audit
from registry.errors import StorageFull
from registry.identity import Actor, Deed
from registry.metadata.changes import AccessEvent, Change
from registry.metadata.identities import Kind
from tests.access.clock import SetClock
from tests.access.forging import open_database
from tests.access.login import (
    ADMIN,
    OPERATOR,
    House,
    OwnRepository,
    basic,
    bearer,
    fresh_address,
    fresh_user,
    keeping,
)
from tests.api.content import digest_of
from tests.api.wire import Reply
from tests.places import only_on
from tests.waiting import wait_until


@contextlib.contextmanager
def written_down(house: House) -> Iterator[list[Change]]:
    """What the change log has after the block that it did not have before, once `house.call` with a mark is in it."""
    before = len(house.changes())
    found: list[Change] = []
    yield found
    mark = fresh_user()
    house.call("DELETE", f"/v2/marks/{mark}/manifests/x", basic(_marker(house)))
    wait_until(lambda: any(change.repository == f"marks/{mark}" for change in house.changes()), "the flush")
    found += [change for change in house.changes()[before:] if not change.repository.startswith("marks/")]


_markers: dict[int, str] = {}


def _marker(house: House) -> str:
    """A user whose denials show that everything before them is written."""
    if house.port not in _markers:
        _markers[house.port] = house.add_user()
    return _markers[house.port]


@pytest.fixture(autouse=True)
def _with_marker(house: House) -> None:
    _marker(house)


def told(change: Change) -> tuple[str, str, str, str]:
    return change.action, change.actor, change.repository, change.subject


def test_changes_of_content(house: House) -> None:
    """Each with its actor, the address that the proxy told, the request id and the instant."""
    name = house.add_user(("acme/*", "admin"))
    repository = OwnRepository(house, basic(name), f"acme/{fresh_user()}")
    blob = repository.push_blob()
    manifest = repository.push_image("v1")
    address = fresh_address()
    with written_down(house) as changes:
        moved = repository.put("v2", manifest, None, address)
        deleted = repository.call("DELETE", "manifests/v2", address)
        gone = repository.call("DELETE", f"blobs/{digest_of(blob)}", address)
        robot = fresh_user()
        house.do(lambda registry: registry.identities.add_robot(robot, [Grant.parse("acme/*", "pull")], None, OPERATOR))
    found = {(change.action, change.tag, change.digest): change for change in changes}
    for reply, key in (
        (moved, ("tag.set", "v2", digest_of(manifest))),
        (deleted, ("tag.delete", "v2", digest_of(manifest))),
        (gone, ("blob.delete", "", digest_of(blob))),
    ):
        change = found[key]
        assert (change.actor, change.address, change.repository) == (name, address[1], repository.name)
        assert (change.request_id, change.at) == (reply["X-Request-ID"], house.clock.now)
    assert ("robot.add", OPERATOR.name, "", robot) in map(told, changes)


def test_actors(house: House) -> None:
    """A robot is named so that no user can be taken for it."""
    robot = fresh_user()
    grant = Grant.parse("acme/*", "pull,push")
    secret = house.do(lambda registry: registry.identities.add_robot(robot, [grant], None, OPERATOR))
    repository = f"acme/{fresh_user()}"
    token = house.log_in(robot, f"repository:{repository}:pull,push", password=secret)
    for header in (basic(robot, secret), bearer(token)):
        with written_down(house) as changes:
            OwnRepository(house, header, repository).push_blob()
        assert {change.actor for change in changes} == {f"robot:{robot}"}


FAILURES = [
    ("a wrong password", "{known}", "wrong password!", "{known}", "wrong password"),
    ("an unknown name", "hunter2-{known}", "x", "(unknown)", "wrong password"),
    ("anonymous", "anonymous", "x", "anonymous", "wrong password"),
    ("an id token that is none", "oidc", "hunter2", "", "id token: it is not a signed token of three parts"),
]


@pytest.mark.parametrize("row", FAILURES, ids=[row[0] for row in FAILURES])
def test_failed_logins(house: House, row: tuple[str, ...]) -> None:
    """With the name if there is one like it; what else was typed as a name may be a password, and is nowhere."""
    known = house.add_user()
    _, name, password, subject, detail = (text.format(known=known) for text in row)
    address = fresh_address()
    with written_down(house) as changes:
        reply = house.call("GET", "/v2/", basic(name, password), address)
        house.ask(headers=(basic(name, password), address))
        house.post(address, grant_type="password", username=name, password=password, service=house.service)
    assert reply.status == 401
    assert {(change.action, change.subject, change.detail) for change in changes} == {("login.fail", subject, detail)}
    assert {(change.actor, change.address, change.at) for change in changes} == {
        ("anonymous", address[1], house.clock.now)
    }
    assert sum(change.times for change in changes) == 3
    assert changes[0].request_id == reply["X-Request-ID"]
    assert "hunter2" not in str(house.changes())


def test_denials(house: House) -> None:
    """Of callers who have logged in: with the repository and what they wanted; the same again only counts."""
    name = house.add_user(("acme/*", "pull"))
    repository = fresh_user()
    address = fresh_address()
    with written_down(house) as changes:
        replies: list[Reply] = [
            house.call("POST", f"/v2/acme/{repository}/blobs/uploads/", basic(name), address) for _ in range(3)
        ]
        replies.append(house.call("GET", f"/v2/other/{repository}/tags/list", basic(name), address))
    assert [reply.status for reply in replies] == [403, 403, 403, 404]
    acme = [change for change in changes if change.repository == f"acme/{repository}"]
    other = [change for change in changes if change.repository == f"other/{repository}"]
    assert {(change.action, change.actor, change.detail, change.address) for change in acme} == {
        ("access.deny", name, "push", address[1])
    }
    assert sum(change.times for change in acme) == 3
    assert acme[0].request_id == replies[0]["X-Request-ID"]
    assert [(change.detail, change.times) for change in other] == [("pull", 1)]


def test_strangers_are_not_noted(house: House) -> None:
    """Every pull begins with a challenge, and with a token that is too narrow or has expired."""
    token = house.log_in(ADMIN, "repository:acme/app:pull")
    with written_down(house) as changes:
        assert house.call("GET", "/v2/").status == 401
        assert house.call("PUT", "/v2/acme/app/manifests/v1").status == 401
        assert house.call("PUT", "/v2/acme/app/manifests/v1", bearer(token)).status == 401
        house.clock.now += 301_000
        assert house.call("GET", "/v2/acme/app/tags/list", bearer(token)).status == 401
    assert [change for change in changes if change.action in {"login.fail", "access.deny"}] == []


def test_floods_are_folded(house: House) -> None:
    """Ten thousand different refusals of one second become a thousand rows, none of them lost from the count."""
    clock = SetClock()
    database = house.registry.database
    audit = Audit(database, clock)
    for number in range(10_000):
        deed = Deed(Actor("flooder", f"10.0.{number >> 8}.{number & 255}", f"request {number}"), clock())
        audit.note(AccessEvent(deed, "login.fail", subject="(unknown)", detail="flood"))
    before = len(house.changes())
    house.do(lambda _: audit.flush())
    rows = house.changes()[before:]
    assert len(rows) <= 1_001
    assert sum(row.times for row in rows) == 10_000


def test_last_use(house: House) -> None:
    """A login is noted where the operator looks for identities that nobody needs."""
    name = house.add_user()
    house.log_in(name)

    def used_at() -> int | None:
        listed = house.do(lambda registry: registry.identities.list_kind(Kind.USER))
        return next(one.identity.last_used_at for one in listed if one.identity.name == name)

    wait_until(lambda: used_at() is not None, "the flush")
    assert used_at() == house.clock.now


def test_lines_of_the_log(tmp_path: Path) -> None:
    """One for each row, from the first of this start on, also for what was noted just before the end."""
    with capture_logs() as entries, keeping(tmp_path) as house:
        name = house.add_user()
        house.call("GET", "/v2/", basic(name, "wrong"))
        house.call("GET", f"/v2/{name}/tags/list", basic(name))
    own = {("user.add", ADMIN), ("user.add", name), ("login.fail", name), ("access.deny", "")}
    audit = [entry for entry in entries if entry["event"] == "audit"]  # of all servers of this process
    lines: list[Any] = [
        one for one in audit if (one["action"], one.get("subject", "")) in own and one.get("repository", name) == name
    ]
    assert [(line["action"], line.get("subject", "")) for line in lines] == [
        ("user.add", ADMIN), ("user.add", name), ("login.fail", name), ("access.deny", ""),
    ]  # fmt: skip
    assert lines[3]["repository"] == name
    assert all(line["sequence"] and line["at"] and line["actor"] for line in lines)
    assert [line["sequence"] for line in lines] == sorted({line["sequence"] for line in lines})


@only_on("sqlite", "its pages can be counted out")
def test_a_flush_that_fails(house: House, tmp_path: Path) -> None:
    """On a full disk what could not be written waits, counts on, and is written when there is room."""

    async def work(_: object) -> list[tuple[str, int]]:
        database = await open_database(tmp_path)
        audit = Audit(database, SetClock())
        deed = Deed(Actor("anonymous", "10.0.0.1"), 1)
        audit.note(AccessEvent(deed, "login.fail", detail="one"))
        large = "x" * 100_000
        audit.note(AccessEvent(deed, "login.fail", detail=large))
        pages = (await database.read(lambda tx: tx.only("PRAGMA page_count")))[0]
        await database.write(lambda tx: tx.run(f"PRAGMA max_page_count = {pages}"))
        with pytest.raises(StorageFull):
            await audit.flush()
        audit.note(AccessEvent(deed, "login.fail", detail="one"))
        audit.note(AccessEvent(deed, "login.fail", detail="two"))
        with pytest.raises(StorageFull):
            await audit.flush()
        await database.write(lambda tx: tx.run("PRAGMA max_page_count = 1000000"))
        await audit.flush()
        await audit.flush()
        found = await audit.list_after(0, 0, 100)
        database.close()
        return [(change.detail[:3], change.times) for change in found]

    assert house.do(work) == [("one", 2), ("xxx", 1), ("two", 1)]

"""Pull times: who pulled which manifest last is known some seconds later, without a write for each pull."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.access.grants import Grant
from registry.metadata.database import Transaction
from tests.access.clock import SetClock
from tests.access.login import ADMIN, OPERATOR, PASSWORD, House, OwnRepository, basic, bearer, keeping
from tests.api.content import Repository, digest_of
from tests.api.running import running
from tests.places import open_database
from tests.waiting import wait_until

MINUTE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A registry from which everyone may pull."""
    with keeping(tmp_path_factory.mktemp("pulls")) as house:
        house.grant("anonymous", "**", "pull")
        yield house


@pytest.fixture
def admins(house: House) -> OwnRepository:
    """A fresh repository as its admin sees it, at an instant that no test has seen."""
    house.clock.now += 10 * MINUTE
    return OwnRepository(house, basic(ADMIN))


def read_pulls(tx: Transaction, name: str, digest: str) -> dict[str, int]:
    rows = tx.run(
        "SELECT pull.identity, pull.at FROM repository JOIN manifest ON manifest.repository_id = repository.id"
        " JOIN pull ON pull.manifest_id = manifest.id WHERE repository.name = :name AND manifest.digest = :digest",
        name=name,
        digest=digest,
    )
    return dict(rows)


def pulls_of(house: House, repository: Repository, manifest: bytes) -> dict[str, int]:
    """When each identity pulled it last."""
    return house.do(
        lambda registry: registry.database.read(lambda tx: read_pulls(tx, repository.name, digest_of(manifest)))
    )


def expect_pulls(house: House, repository: Repository, manifest: bytes, expected: dict[str, int]) -> None:
    wait_until(lambda: pulls_of(house, repository, manifest) == expected, f"the pulls are {expected}")


def test_what_is_a_pull(house: House, admins: OwnRepository) -> None:
    """GET and HEAD by tag and by digest, also when the answer is that the client has it already."""
    images = []
    for number, (method, is_by_tag, is_known) in enumerate(
        itertools.product(["GET", "HEAD"], [True, False], [True, False])
    ):
        images.append(admins.push_image(tag := f"v{number}"))
        digest = digest_of(images[-1])
        headers = [("If-None-Match", f'"{digest}"')] if is_known else []
        reply = admins.call(method, f"manifests/{tag if is_by_tag else digest}", *headers)
        assert reply.status == (304 if is_known else 200)
    for content in images:
        expect_pulls(house, admins, content, {ADMIN: house.clock.now})


def test_what_is_no_pull(house: House, admins: OwnRepository) -> None:
    """Neither a first push, nor a look at anything else, nor a request that was refused; a push again is a use."""
    content = admins.push_image("v1")
    digest = digest_of(content)
    assert admins.put("v2", content).status == 201
    assert admins.status("tags/list") == 200
    assert admins.status(f"referrers/{digest}") == 200
    assert admins.status("manifests/v3") == 404
    assert admins.call("GET", "manifests/v1", ("If-Match", '"other"')).status == 412
    stranger = OwnRepository(house, basic(ADMIN, "a wrong password"), admins.name)
    assert stranger.status("manifests/v1") == 401
    everyone = Repository(house, admins.name)
    assert everyone.status("manifests/v1") == 200
    expect_pulls(house, admins, content, {"anonymous": house.clock.now, "push:again": house.clock.now})


def test_whose_pull_it_is(house: House, admins: OwnRepository) -> None:
    """A user's, a robot's and everybody's pulls are told apart, by password or by token."""
    content, now = admins.push_image("v1"), house.clock.now
    user = house.add_user(("**", "pull"))
    grants = [Grant.parse("**", "pull")]
    secret = house.do(lambda registry: registry.identities.add_robot("scanner", grants, None, OPERATOR))
    token = house.log_in("scanner", f"repository:{admins.name}:pull", password=secret)
    for header in (basic(user, PASSWORD), bearer(token)):
        assert OwnRepository(house, header, admins.name).status("manifests/v1") == 200
    assert Repository(house, admins.name).status("manifests/v1") == 200
    expect_pulls(house, admins, content, {user: now, "robot:scanner": now, "anonymous": now})


def test_one_who_pulls_all_the_time_is_written_once_a_minute(house: House, admins: OwnRepository) -> None:
    """The first pull is written at once, the latest one of the next minute when that is over."""
    content, first = admins.push_image("v1"), house.clock.now
    assert admins.status("manifests/v1") == 200
    expect_pulls(house, admins, content, {ADMIN: first})
    house.clock.now += MINUTE // 2
    for _ in range(3):
        house.clock.now += 1
        assert admins.status("manifests/v1") == 200
    assert Repository(house, admins.name).status("manifests/v1") == 200
    last = house.clock.now
    expect_pulls(house, admins, content, {ADMIN: first, "anonymous": last})
    house.clock.now += MINUTE
    expect_pulls(house, admins, content, {ADMIN: last, "anonymous": last})


def test_a_server_that_ends_forgets_no_pull(tmp_path: Path) -> None:
    """What waits for its minute is written, too."""
    clock = SetClock()
    with running(tmp_path, clock=clock, anonymous="push") as server:
        repository = Repository(server)
        content = repository.push_image("v1")
        for _ in range(3):
            clock.now += 1_000
            assert repository.status("manifests/v1") == 200

    async def read() -> dict[str, int]:
        database = open_database(tmp_path)
        try:
            return await database.read(lambda tx: read_pulls(tx, repository.name, digest_of(content)))
        finally:
            database.close()

    assert asyncio.run(read()) == {"anonymous": clock.now}

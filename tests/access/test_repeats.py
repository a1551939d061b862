"""The same request again is answered from what is known, as long as that is true, whoever changes what."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.access.grants import Grant
from registry.app import Registry
from registry.oci.names import RepositoryName
from tests.access.login import ADMIN, OPERATOR, House, OwnRepository, basic, bearer, fresh_user, keeping
from tests.access.test_revocation import change_password, disable, keep_password, remove, revoke, rotate_key
from tests.api.content import digest_of, fresh_blob, image
from tests.api.wire import Call, Connection, Reply, send, written
from tests.places import only_on
from tests.waiting import wait_until

pytestmark = only_on("sqlite", "PostgreSQL is asked each time")

ADDRESS = ("X-Forwarded-For", "10.1.2.3")
SECOND = 1000
TIMES = 4  # of a request, of which the first is found out and the others are repeats
_numbers = count(1)


@dataclass
class Scene:
    """A repository `name` with the tag `v1`, and a `user` who may pull from it, with a token."""

    house: House
    name: str
    user: str
    token: str

    @property
    def admins(self) -> OwnRepository:
        """As the admin has it, who sends a password: that is checked each time."""
        return OwnRepository(self.house, basic(ADMIN), self.name)

    def call(self, method: str = "GET", reference: str = "v1", *headers: tuple[str, str]) -> Call:
        path = f"/v2/{self.name}/manifests/{reference}" if reference else "/v2/"
        return Call(method, path, (bearer(self.token), ADDRESS, *headers))

    def ask(self, call: Call) -> list[Reply]:
        """Some times on one connection, then on another one."""
        request = written(call, self.house.port)
        replies = []
        for times in (TIMES - 1, 1):
            with Connection(self.house.port) as connection:
                for _ in range(times):
                    connection.write(request)
                    replies.append(connection.read(call.method))
                    if replies[-1]["Connection"] == "close":
                        break
        return replies

    def repeat(self, call: Call) -> None:
        """Ask until all but the first are known to be the same, which a commit of the server's own may prevent."""

        def is_repeated() -> bool:
            before = repeated(self.house)
            replies = self.ask(call)
            assert len({(reply.status, reply.body, told(reply)) for reply in replies}) == 1
            assert len({reply["X-Request-ID"] for reply in replies}) == len(replies)
            return repeated(self.house) >= before + TIMES - 1

        wait_until(is_repeated, "the answers are repeated")


def repeated(house: House) -> int:
    """How many requests were answered as the same one was before."""
    text = send(house.port, Call("GET", "/metrics")).body.decode()
    (found,) = re.findall(r"^entrepot_repeated_requests_total ([0-9.e+]+)$", text, re.MULTILINE)
    return int(float(found))


def told(reply: Reply) -> tuple[tuple[str, str], ...]:
    """The headers that are not an answer's own only."""
    return tuple(sorted((n.lower(), v) for n, v in reply.headers if n.lower() not in ("x-request-id", "date")))


def make_scene(house: House) -> Scene:
    number = next(_numbers)
    name = f"acme/r{number}"
    user = house.add_user((f"acme/r{number}", "pull"))
    OwnRepository(house, basic(ADMIN), name).push_image("v1")
    return Scene(house, name, user, house.log_in(user, f"repository:{name}:pull"))


@pytest.fixture(scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Behind the edge, where the others are in another mode, too."""
    with keeping(tmp_path_factory.mktemp("house"), edge="on") as house:
        yield house


@pytest.fixture
def scene(house: House) -> Scene:
    return make_scene(house)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["v1", "digest", ""])
def test_repeats(scene: Scene, method: str, reference: str) -> None:
    """By tag, by digest, and the root: each answer has an id of its own, and all else is the same."""
    if reference == "digest":
        reference = scene.house.send(scene.call("HEAD"))["Docker-Content-Digest"]
    scene.repeat(scene.call(method, reference))


def commit_elsewhere(scene: Scene) -> None:
    """Something that has nothing to do with the request."""
    scene.house.add_user()


def test_what_changes_nothing(scene: Scene) -> None:
    """After any commit the next one is found out anew, and those behind it are repeats again."""
    call = scene.call()
    scene.repeat(call)
    commit_elsewhere(scene)
    scene.repeat(call)


def by_cli(work: Callable[[Registry, Scene], object]) -> Callable[[Scene], None]:
    """Done beside the server, on the database."""

    def change(scene: Scene) -> None:
        async def run(registry: Registry) -> None:
            await work(registry, scene)  # type: ignore[misc]  # whatever it returns is waited for

        scene.house.do(run)

    return change


def by_user(work: Callable[[House, str], None]) -> Callable[[Scene], None]:
    return lambda scene: work(scene.house, scene.user)


def pass_seconds(seconds: int) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        scene.house.clock.now += seconds * SECOND

    return change


CHANGES: dict[str, tuple[Callable[[Scene], object], int]] = {
    "the tag moved": (lambda scene: scene.admins.push_image("v1"), 200),
    "the tag deleted": (lambda scene: scene.admins.call("DELETE", "manifests/v1"), 404),
    "the manifest deleted": (
        lambda scene: scene.admins.call("DELETE", f"manifests/{digest_now(scene)}"),
        404,
    ),
    "the repository deleted": (
        by_cli(lambda registry, scene: registry.repositories.delete(RepositoryName.parse(scene.name), OPERATOR)),
        401,
    ),
    "disabled": (by_user(disable), 401),
    "removed": (by_user(remove), 401),
    "another password": (by_user(change_password), 401),
    "the same password again": (by_user(keep_password), 401),
    "the key replaced": (by_user(rotate_key), 401),
    "the grant revoked": (lambda scene: revoke(scene.house, scene.user, scene.name), 404),
    "the token expired": (pass_seconds(301), 401),
}


def digest_now(scene: Scene) -> str:
    return scene.house.send(scene.call("HEAD"))["Docker-Content-Digest"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("title", CHANGES)
def test_changes(scene: Scene, title: str, method: str) -> None:
    """After the change each answer is that of a server that has never heard the request."""
    change, status = CHANGES[title]
    call = scene.call(method)
    scene.repeat(call)
    before = digest_now(scene)
    change(scene)
    replies = scene.ask(call)
    assert {reply.status for reply in replies} == {status}
    assert status != 200 or {reply["Docker-Content-Digest"] for reply in replies} != {before}


def test_a_robot_that_expires(house: House) -> None:
    """Its token would live longer."""
    scene = make_scene(house)
    grant, until = Grant.parse(scene.name, "pull"), house.clock.now + 60 * SECOND
    robot = fresh_user()
    secret = house.do(lambda registry: registry.identities.add_robot(robot, [grant], until, OPERATOR))
    scene.token = house.log_in(robot, f"repository:{scene.name}:pull", password=secret)
    call = scene.call()
    scene.repeat(call)
    house.clock.now = until
    assert {reply.status for reply in scene.ask(call)} == {401}


def test_nobodys_and_everybodys(house: House) -> None:
    """A stranger's answers are repeated as long as strangers are let in."""
    scene = make_scene(house)
    everybody = Grant.parse(scene.name, "pull")
    house.do(lambda registry: registry.identities.grant("anonymous", everybody, OPERATOR))
    call = Call("GET", f"/v2/{scene.name}/manifests/v1", (ADDRESS,))
    scene.repeat(call)
    revoke(house, "anonymous", scene.name)
    assert {reply.status for reply in scene.ask(call)} == {401}


def test_passwords(scene: Scene) -> None:
    """They are checked each time."""
    before = repeated(scene.house)
    call = Call("GET", scene.call().path, (basic(ADMIN), ADDRESS))
    assert {reply.status for reply in scene.ask(call)} == {200}
    assert repeated(scene.house) == before


@pytest.mark.parametrize("header", [("Connection", "close"), ("If-None-Match", "*")])
def test_requests_that_are_more_than_a_question(scene: Scene, header: tuple[str, str]) -> None:
    """They are carried out each time: the connection ends, the condition is judged."""
    before = repeated(scene.house)
    replies = scene.ask(scene.call("GET", "v1", header))
    assert {reply.status for reply in replies} == {304 if header[0] == "If-None-Match" else 200}
    assert {reply["Connection"] for reply in replies} == {"close" if header[0] == "Connection" else ""}
    assert repeated(scene.house) == before


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"no HTTP\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_what_comes_behind(scene: Scene, behind: bytes) -> None:
    """In one packet with a request, again and again: each time it is answered, too, as what it is."""
    packet = written(scene.call(), scene.house.port) + behind
    answers = []
    for _ in range(TIMES):
        with Connection(scene.house.port) as connection:
            connection.write(packet)
            connection.end_writing()
            answers.append(re.findall(rb"HTTP/1.1 (\d+)", connection.read_to_end()))
    expected = {b"": [b"200"], b"\r\n": [b"200"], b"no HTTP\r\n\r\n": [b"200", b"400"]}.get(behind, [b"200", b"401"])
    assert answers == [expected] * TIMES


def test_pieces_of_a_request(scene: Scene) -> None:
    """However it is cut, it is the same request."""
    request = written(scene.call(), scene.house.port)
    scene.repeat(scene.call())
    with Connection(scene.house.port) as connection:
        for cut in (1, 10, len(request) - 2, len(request) - 1):
            connection.write(request[:cut])
            connection.write(request[cut:])
            assert connection.read().status == 200


def test_what_a_repeat_does_besides(scene: Scene) -> None:
    """It counts as a pull at its own time, and has a line of its own."""
    scene.repeat(scene.call())
    scene.house.clock.now += 100 * SECOND
    with capture_logs() as entries:
        replies = scene.ask(scene.call())
        ids = {reply["X-Request-ID"] for reply in replies}
        wait_until(lambda: {line.get("request_id") for line in entries} >= ids, "a line for each answer")
    lines = [{**line, "milliseconds": 0, "request_id": ""} for line in entries if line.get("request_id") in ids]
    assert lines == [lines[0]] * TIMES
    assert (lines[0]["actor"], lines[0]["client"], lines[0]["status"]) == (scene.user, ADDRESS[1], 200)
    at = scene.house.clock.now

    def is_written() -> bool:
        found = scene.house.do(lambda registry: registry.database.read(lambda tx: tx.run("SELECT at FROM pull")))
        return (at,) in found

    wait_until(is_written, "the pull is written with the time of the last")


def test_shares_of_what_a_caller_may_ask(tmp_path: Path) -> None:
    """Repeats take theirs, and find out when there is none left."""
    with keeping(tmp_path, edge="on", requests_per_second=1) as house:
        scene = make_scene(house)
        house.clock.now += 1000 * SECOND
        scene.token = house.log_in(scene.user, f"repository:{scene.name}:pull")
        statuses = [reply.status for _ in range(5) for reply in scene.ask(scene.call())]
        assert statuses == [200] * statuses.count(200) + [429] * statuses.count(429)
        assert 8 <= statuses.count(200) <= 10
        assert repeated(house) > 5


def test_large_manifests(scene: Scene) -> None:
    """What would take too much memory is not kept, and is whole all the same."""
    blob = fresh_blob()
    content = image(scene.admins.push_blob(blob), annotations={"a": "x" * (300 << 10)})
    scene.admins.push_manifest(content, "large")
    before = repeated(scene.house)
    assert {digest_of(reply.body) for reply in scene.ask(scene.call("GET", "large"))} == {digest_of(content)}
    assert repeated(scene.house) == before

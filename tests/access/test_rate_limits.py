"""Failures are limited for each address and name, working logins never; and requests, where a setting says so."""

import contextlib
import resource
from collections import Counter
from collections.abc import Iterator

import pytest

from registry.access.grants import Grant
from registry.metadata.identities import Kind
from tests.access.login import ADMIN, OPERATOR, PASSWORD, House, basic, bearer, fresh_address, fresh_user, keeping
from tests.api.wire import Call, Reply, written

BURST = 20  # failures that a stranger has at once
CROWD = 300


def wrong(house: House, address: tuple[str, str], name: str = "") -> Reply:
    return house.call("GET", "/v2/", basic(name or fresh_user(), "wrong password"), address)


def drain(house: House, address: tuple[str, str]) -> Reply:
    """Fail from the address until it is limited; returns the refusal."""
    assert [wrong(house, address).status for _ in range(BURST)] == [401] * BURST
    return wrong(house, address)


def test_twenty_wrong_passwords(house: House) -> None:
    """Then 429, with the seconds to wait, at every door; other addresses do not notice."""
    address = fresh_address()
    reply = drain(house, address)
    assert (reply.status, reply.code) == (429, "TOOMANYREQUESTS")
    assert 1 <= int(reply["Retry-After"]) <= 60
    assert house.ask(headers=(basic("nobody", "x"), address)).status == 429
    form = {"grant_type": "password", "username": "nobody", "password": "x", "service": house.service}
    by_post = house.post(address, **form)
    assert (by_post.status, by_post.code) == (429, "TOOMANYREQUESTS")
    assert by_post["Retry-After"]
    assert wrong(house, fresh_address()).status == 401
    assert house.call("GET", "/v2/", address).status == 401
    house.clock.now += int(reply["Retry-After"]) * 1000
    assert wrong(house, address).status == 401
    assert wrong(house, address).status == 429


def test_who_worked_before_goes_on(house: House) -> None:
    """Though somebody behind the same address guesses: by Basic, at the token service, and with a new password."""
    address, name = fresh_address(), house.add_user()
    assert house.ask(headers=(basic(name), address)).status == 200
    token = house.log_in(name)
    assert drain(house, address).status == 429
    for _ in range(30):
        assert house.call("GET", "/v2/", basic(name), address).status == 200
        assert house.ask(headers=(basic(name), address)).status == 200
    assert house.call("GET", "/v2/", bearer(token), address).status == 200
    house.do(lambda registry: registry.identities.set_password(name, PASSWORD + " new", OPERATOR))
    assert house.call("GET", "/v2/", basic(name, PASSWORD + " new"), address).status == 200


def test_a_password_that_is_known_elsewhere(house: House) -> None:
    """A right password of the last minutes costs nothing to check, so it is never limited."""
    name, address = house.add_user(), fresh_address()
    house.log_in(name)
    assert drain(house, address).status == 429
    assert house.call("GET", "/v2/", basic(name), address).status == 200


def test_a_robot_is_never_limited(house: House) -> None:
    """Nobody guesses its secret; a wrong one counts."""
    name, address = fresh_user(), fresh_address()
    grant = Grant.parse("acme/*", "pull")
    secret = house.do(lambda registry: registry.identities.add_robot(name, [grant], None, OPERATOR))
    assert drain(house, address).status == 429
    assert house.call("GET", "/v2/", basic(name, secret), address).status == 200
    assert house.ask("repository:acme/app:pull", headers=(basic(name, secret), address)).status == 200
    assert house.call("GET", "/v2/", basic(name, secret + "x"), fresh_address()).status == 401


def test_five_hundred_tokens(house: House) -> None:
    """A working login is never 429."""
    address = fresh_address()
    replies = [house.ask("repository:acme/app:pull", headers=(basic(ADMIN), address)) for _ in range(500)]
    assert {reply.status for reply in replies} == {200}


def test_one_name_from_many_addresses(house: House) -> None:
    """A botnet that guesses at a name is limited by the name, and the name's owner is not locked out."""
    name, home = house.add_user(), fresh_address()
    assert house.ask(headers=(basic(name), home)).status == 200
    replies = [wrong(house, fresh_address(), name).status for _ in range(BURST + 1)]
    assert replies == [401] * BURST + [429]
    assert house.call("GET", "/v2/", basic(name), home).status == 200


def test_bad_tokens(house: House) -> None:
    """They count as failures; a good one is never refused for them."""
    address, token = fresh_address(), house.log_in(ADMIN)
    replies = [house.call("GET", "/v2/", bearer(f"a.b.{number}"), address).status for number in range(BURST + 1)]
    assert replies == [401] * BURST + [429]
    assert house.call("GET", "/v2/", bearer(token), address).status == 200


def test_tokens_of_a_key_that_was_replaced(house: House) -> None:
    """All clients have such tokens after an emergency: each must hear 401, or it never asks for a new one."""
    address, token = fresh_address(), house.log_in(ADMIN)
    house.do(lambda registry: registry.tokens.rotate(OPERATOR, at_once=True))
    replies = [house.call("GET", "/v2/", bearer(token), address).status for _ in range(2 * BURST)]
    assert replies == [401] * (2 * BURST)
    assert house.ask(headers=(basic(ADMIN), address)).status == 200


@pytest.fixture(scope="module")
def unbelieving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Knows no proxy."""
    with keeping(tmp_path_factory.mktemp("unbelieving"), trusted_proxies="") as house:
        yield house


@pytest.mark.input(12)
def test_invented_addresses(unbelieving: House) -> None:
    """From a peer that is no proxy of ours X-Forwarded-For wins no tries."""
    replies = [wrong(unbelieving, fresh_address()).status for _ in range(BURST + 5)]
    assert replies == [401] * BURST + [429] * 5


def test_invented_addresses_behind_a_proxy(house: House) -> None:
    """Only what the proxy itself has added counts: the last hop, not the ones that the client sent."""
    last = fresh_address()[1]
    replies = [wrong(house, ("X-Forwarded-For", f"{fresh_address()[1]}, {last}")).status for _ in range(BURST + 5)]
    assert replies == [401] * BURST + [429] * 5


def test_one_network_of_ipv6(house: House) -> None:
    """All addresses of a /64 are one client's."""
    replies = [wrong(house, ("X-Forwarded-For", f"2001:db8:1:2::{number:x}")).status for number in range(BURST + 5)]
    assert replies == [401] * BURST + [429] * 5
    assert wrong(house, ("X-Forwarded-For", "2001:db8:1:3::1")).status == 401


def test_a_flood_of_wrong_logins(house: House) -> None:
    """Hundreds at once, each from its own address: the registry answers others meanwhile, and stays small."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = house.add_user()
    house.log_in(name)
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(house.connect()) for _ in range(CROWD)]
        for connection in flood:
            call = Call("GET", "/v2/", [basic(fresh_user(), "wrong password"), fresh_address()])
            connection.write(written(call, house.port))
        for _ in range(10):
            assert house.call("GET", "/healthz").status == 200
            assert house.call("GET", "/v2/", basic(name)).status == 200
        statuses = Counter(connection.read().status for connection in flood)
    assert statuses.keys() == {401, 429}
    assert statuses[401] < CROWD / 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two requests a second, twenty at once."""
    with keeping(tmp_path_factory.mktemp("slow"), requests_per_second=2) as house:
        yield house


def test_requests_of_one_caller(slow: House) -> None:
    """Over the rate 429, for this caller alone, wherever it comes from; the token service is never limited."""
    one, other = slow.add_user(), slow.add_user()
    token, others = bearer(slow.log_in(one)), bearer(slow.log_in(other))
    replies = [slow.call("GET", "/v2/", token) for _ in range(21)]
    assert [reply.status for reply in replies] == [200] * 20 + [429]
    assert (replies[-1].code, replies[-1]["Retry-After"]) == ("TOOMANYREQUESTS", "1")
    assert slow.call("GET", "/v2/", basic(one)).status == 429
    assert slow.call("GET", "/v2/", others).status == 200
    assert {slow.ask(headers=(basic(one),)).status for _ in range(50)} == {200}
    assert slow.call("GET", "/healthz").status == 200
    slow.clock.now += 500
    assert [slow.call("GET", "/v2/", token).status for _ in range(2)] == [200, 429]


def test_who_is_shut_out_above_the_rate(slow: House) -> None:
    """Hears 401, not to wait: also of a manifest, for which the server knows the rights of a moment ago."""
    name = slow.add_user(("acme/*", "pull"))
    token = bearer(slow.log_in(name, "repository:acme/app:pull"))
    replies = [slow.call("GET", "/v2/acme/app/manifests/x", token) for _ in range(21)]
    assert [reply.status for reply in replies] == [404] * 20 + [429]
    slow.do(lambda registry: registry.identities.set_disabled(Kind.USER, name, OPERATOR, is_disabled=True))
    assert [slow.call("GET", "/v2/acme/app/manifests/x", token).status for _ in range(3)] == [401] * 3


def test_requests_of_strangers(slow: House) -> None:
    """One bucket for each address, and none is won by inventing addresses."""
    address = fresh_address()
    assert [slow.call("GET", "/v2/", address).status for _ in range(21)] == [401] * 20 + [429]
    assert slow.call("GET", "/v2/", fresh_address()).status == 401
    assert slow.call("GET", "/v2/", basic(ADMIN), address).status == 200


def test_a_user_with_the_name_of_an_address(slow: House) -> None:
    """Names and addresses are different buckets: nobody uses up somebody else's."""
    name = slow.add_user(name="10.250.0.1")
    assert [slow.call("GET", "/v2/", basic(name)).status for _ in range(21)] == [200] * 20 + [429]
    assert slow.call("GET", "/v2/", ("X-Forwarded-For", "10.250.0.1")).status == 401


def test_requests_of_one_network_of_ipv6(slow: House) -> None:
    """As for failures: a /64 is one client."""
    addresses = [("X-Forwarded-For", f"2001:db8:9:9::{number:x}") for number in range(21)]
    assert [slow.call("GET", "/v2/", address).status for address in addresses] == [401] * 20 + [429]

"""Where keys come from: issuers that rotate, are down, lie, and must not be hammered, whatever tokens come."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from registry.errors import Unavailable
from registry.federation import FetchFailed, fetch
from tests.access import issuer as answers
from tests.access.clock import SetClock
from tests.access.issuer import DISCOVERY, JWKS, OMITTED, Answer, Issuer, issuing, make_key
from tests.access.verifying import Verifier, rule, verifying
from tests.certificates import make_pair
from tests.waiting import wait_until

HOUR, REFRESH_INTERVAL = 3_600_000, 30_000
IMPATIENT, PATIENT = 0.3, 5.0


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(SetClock()) as issuer:
        yield issuer


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    yield from verifying(SetClock())


def fetches(issuer: Issuer) -> tuple[int, int]:
    return issuer.requests[DISCOVERY], issuer.requests[JWKS]


def test_keys_are_fetched_once(verifier: Verifier, issuer: Issuer) -> None:
    """For an hour one fetch is enough, then there is one more."""
    for age in (0, 1, HOUR - 1):
        verifier.clock.now = issuer._clock() + age
        assert verifier.believes(issuer.token(exp=9e9), rule(issuer))
        assert fetches(issuer) == (1, 1)
    verifier.clock.now += 1
    assert verifier.believes(issuer.token(exp=9e9), rule(issuer))
    assert fetches(issuer) == (2, 2)


def test_many_at_once(verifier: Verifier, issuer: Issuer) -> None:
    """Twenty verifications at the same time make one fetch."""

    async def verify_all() -> list[list[int]]:
        verified = (verifier.federation.verify(issuer.token(), [rule(issuer)]) for _ in range(20))
        return [believing for _, believing in await asyncio.gather(*verified)]

    assert verifier.run(verify_all()) == [[0]] * 20
    assert fetches(issuer) == (1, 1)


def test_a_client_that_hangs_up(verifier: Verifier, issuer: Issuer) -> None:
    """The keys that it had asked for come to those who wait with it."""
    issuer.answers[JWKS] = answers.HANGING

    async def hang_up() -> list[int]:
        first = asyncio.create_task(verifier.federation.verify(issuer.token(), [rule(issuer)]))
        second = asyncio.create_task(verifier.federation.verify(issuer.token(), [rule(issuer)]))
        await asyncio.to_thread(wait_until, lambda: issuer.requests[JWKS] == 1, "the issuer is asked")
        first.cancel()
        issuer.behave()
        _, believing = await second
        assert first.cancelled()
        return believing

    assert verifier.run(hang_up()) == [0]
    assert fetches(issuer) == (1, 1)


def test_rotation(verifier: Verifier, issuer: Issuer) -> None:
    """A new key is fetched when a token comes with it; then what the old one signed is refused."""
    old = issuer.token()
    assert verifier.believes(old, rule(issuer))
    issuer.rotate(make_key("EdDSA", "key-2"))
    assert verifier.believes(old, rule(issuer))
    verifier.clock.now += REFRESH_INTERVAL
    assert verifier.believes(issuer.token(), rule(issuer))
    assert fetches(issuer) == (2, 2)
    assert "no key" in verifier.refusal(old, rule(issuer))


def test_unknown_kids_do_not_hammer_the_issuer(verifier: Verifier, issuer: Issuer) -> None:
    """Whatever kids come, there is at most one fetch in 30 seconds, and the known keys keep serving."""
    forger = make_key()
    for number in range(50):
        token = issuer.token(key=forger, headers={"kid": f"unknown-{number}"})
        assert "no key" in verifier.refusal(token, rule(issuer))
        assert verifier.believes(issuer.token(), rule(issuer))
    assert fetches(issuer) == (1, 1)
    for count in (2, 3):
        verifier.clock.now += REFRESH_INTERVAL - 1
        verifier.refusal(issuer.token(headers={"kid": "x"}), rule(issuer))
        verifier.clock.now += 1
        verifier.refusal(issuer.token(headers={"kid": "x"}), rule(issuer))
        verifier.refusal(issuer.token(headers={"kid": "y"}), rule(issuer))
        assert fetches(issuer) == (count, count)


def test_a_clock_that_is_set_back(verifier: Verifier, issuer: Issuer) -> None:
    """Keys that seem to come from the future are fetched again, not kept for as long as that."""
    assert verifier.believes(issuer.token(), rule(issuer))
    verifier.clock.now -= 10 * HOUR
    assert verifier.believes(issuer.token(iat=0, nbf=0), rule(issuer))
    assert fetches(issuer) == (2, 2)


def test_down_from_the_start(verifier: Verifier, issuer: Issuer) -> None:
    """Without keys nothing can be said of a token: 503, until the issuer answers; it is asked every 30 seconds."""
    issuer.go_down()
    for _ in range(3):
        with pytest.raises(Unavailable):
            verifier.verify(issuer.token(), rule(issuer))
    issuer.come_up()
    with pytest.raises(Unavailable):
        verifier.verify(issuer.token(), rule(issuer))
    assert fetches(issuer) == (0, 0)
    verifier.clock.now += REFRESH_INTERVAL
    assert verifier.believes(issuer.token(), rule(issuer))


def test_down_later(verifier: Verifier, issuer: Issuer) -> None:
    """Keys are kept for as long as the issuer does not answer, however old they get."""
    assert verifier.believes(issuer.token(), rule(issuer))
    issuer.go_down()
    for _ in range(3):
        verifier.clock.now += 100 * HOUR
        assert verifier.believes(issuer.token(exp=9e9), rule(issuer))
        assert "no key" in verifier.refusal(issuer.token(exp=9e9, headers={"kid": "other"}), rule(issuer))
    issuer.come_up()
    issuer.rotate(make_key("ES384", "key-2"))
    verifier.clock.now += REFRESH_INTERVAL
    assert verifier.believes(issuer.token(exp=9e9), rule(issuer))


def test_stale_keys_serve_while_one_request_refreshes(verifier: Verifier, issuer: Issuer) -> None:
    """Only the request that finds the keys stale waits for the issuer."""
    assert verifier.believes(issuer.token(), rule(issuer))
    issuer.answers[DISCOVERY] = answers.HANGING
    verifier.clock.now += HOUR
    token = issuer.token(exp=9e9)

    async def verify_two() -> tuple[bool, list[int]]:
        first = asyncio.create_task(verifier.federation.verify(token, [rule(issuer)]))
        await asyncio.to_thread(wait_until, lambda: issuer.requests[DISCOVERY] == 2, "the issuer is asked")
        await verifier.federation.verify(token, [rule(issuer)])
        was_first_waiting = not first.done()
        issuer.behave()
        return was_first_waiting, (await first)[1]

    assert verifier.run(verify_two()) == (True, [0])


def test_what_the_log_says(verifier: Verifier, issuer: Issuer) -> None:
    """It names the issuer and what was wrong: once for keys that cannot be used, each time for a failure."""
    issuer.keys.append(make_key(kid="short", x="AA"))
    with structlog.testing.capture_logs() as events:
        for _ in range(3):
            assert verifier.believes(issuer.token(exp=9e9), rule(issuer))
            verifier.clock.now += HOUR
        issuer.misbehave(DISCOVERY, Answer(500))
        assert verifier.believes(issuer.token(exp=9e9), rule(issuer))
    skipped, failed = events
    assert (skipped["event"], skipped["skipped"]) == ("keys of issuer skipped", ("key 1 cannot be read",))
    assert (failed["issuer"], failed["has_old_keys"]) == (issuer.url, True)
    assert failed["problem"] == f"'{issuer.url}{DISCOVERY}': the answer is 500, not 200"


def test_a_fetch_with_a_bug(issuer: Issuer) -> None:
    """Even that is logged and counts as a failure: nobody waits for ever, nothing is believed."""

    def broken(url: str) -> bytes:
        raise RuntimeError(url)

    with (
        contextlib.contextmanager(verifying)(SetClock(), broken) as verifier,
        structlog.testing.capture_logs() as events,
        pytest.raises(Unavailable),
    ):
        verifier.verify(issuer.token(), rule(issuer))
    assert [event["log_level"] for event in events] == ["error"]


BODIES = [
    b"", b"null", b"[]", b"{}", b"{", b"\xff", b"<html>", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [1]}',
    b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b'{"issuer": 1, "jwks_uri": 1}',
]  # fmt: skip
LIES = [
    *(Answer(body=body) for body in BODIES),
    *(Answer(status, headers={"Retry-After": "0"}) for status in (201, 204, 300, 401, 403, 404, 429, 500, 503)),
    *(Answer(status, headers={"Location": "/elsewhere"}) for status in (301, 302, 303, 307, 308)),
    Answer(headers={"Content-Length": "9999"}), answers.LARGE, answers.HANGING, answers.DRIPPING_HEADERS,
    answers.DRIPPING_BODY, answers.NOT_HTTP, answers.LONG_HEADER, answers.MANY_HEADERS,
]  # fmt: skip


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
@pytest.mark.parametrize("lie", LIES)
def test_lies(verifier: Verifier, issuer: Issuer, lie: Answer, path: str) -> None:
    """No wrong answer makes a key, and none takes away the keys that were got before."""
    issuer.misbehave(path, lie)
    assert_keys_are_kept(verifier, issuer, lambda: issuer.misbehave(path, lie))


@pytest.mark.parametrize("count", [100, 100_000])
def test_too_many_keys(verifier: Verifier, issuer: Issuer, count: int) -> None:
    """A hundred keys are an issuer's, more are an attack."""
    issuer.misbehave(JWKS, issuer.many_keys(count))
    assert_keys_are_kept(verifier, issuer, lambda: issuer.misbehave(JWKS, issuer.many_keys(count)))
    verifier.patience = PATIENT
    issuer.misbehave(JWKS, issuer.many_keys(99))
    verifier.clock.now += HOUR
    assert verifier.believes(issuer.token(exp=9e9, headers={"kid": "other-7"}), rule(issuer))


DISCOVERIES: list[dict[str, object]] = [
    {"issuer": "https://other.example"}, {"issuer": OMITTED}, {"issuer": None}, {"issuer": ["x"]},
    {"jwks_uri": OMITTED}, {"jwks_uri": None}, {"jwks_uri": ["x"]}, {"jwks_uri": "/keys"}, {"jwks_uri": "file:///etc/hostname"},
    {"jwks_uri": "http://192.0.2.1/keys"}, {"jwks_uri": "ftp://127.0.0.1/keys"}, {"jwks_uri": "http://a@127.0.0.1/keys"},
    {"jwks_uri": "http://127.0.0.1:99999/keys"}, {"jwks_uri": "http://[/keys"}, {"jwks_uri": "http://127.0.0.1:1/\r\nx"},
    {"jwks_uri": "data:,{}"},
]  # fmt: skip


@pytest.mark.parametrize("members", DISCOVERIES)
def test_discovery_documents(verifier: Verifier, issuer: Issuer, members: dict[str, object]) -> None:
    """The document must be that of the issuer, and its keys come from https, or from this machine for a test."""
    issuer.discovery.update(members)
    assert_keys_are_kept(verifier, issuer, lambda: issuer.discovery.update(members))
    assert issuer.requests[JWKS] == 1


def assert_keys_are_kept(verifier: Verifier, issuer: Issuer, misbehave: Callable[[], None]) -> None:
    """An issuer that misbehaves now has no keys; one that does so later has those of before."""
    verifier.patience = IMPATIENT
    with pytest.raises(Unavailable):
        verifier.verify(issuer.token(), rule(issuer))
    verifier.patience = PATIENT
    issuer.behave()
    verifier.clock.now += REFRESH_INTERVAL
    assert verifier.believes(issuer.token(), rule(issuer))
    verifier.patience = IMPATIENT
    misbehave()
    verifier.clock.now += HOUR
    assert verifier.believes(issuer.token(exp=9e9), rule(issuer))
    assert "no key" in verifier.refusal(issuer.token(exp=9e9, headers={"kid": "other"}), rule(issuer))
    assert issuer.requests[DISCOVERY] == 3
    assert issuer.requests["/elsewhere"] == 0


@pytest.mark.parametrize("path", ["/", "/realms/main", "/realms/main/"])
def test_issuers_with_a_path(verifier: Verifier, path: str) -> None:
    """The discovery document is below the issuer's path, whether it ends with / or not."""
    with issuing(SetClock(), path=path) as issuer:
        assert verifier.believes(issuer.token(), rule(issuer))
        assert fetches(issuer) == (1, 1)


def test_tls(verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate must be trusted, by the system or by SSL_CERT_FILE, and its keys come with TLS too."""
    pair = make_pair()
    with issuing(SetClock(), tls=pair) as issuer, issuing(SetClock()) as plain:
        for other in (make_pair(), None):
            if other:
                monkeypatch.setenv("SSL_CERT_FILE", str(other.write(tmp_path)[0]))
            with pytest.raises(Unavailable):
                verifier.verify(issuer.token(), rule(issuer))
            verifier.clock.now += REFRESH_INTERVAL
        assert fetches(issuer) == (0, 0)
        monkeypatch.setenv("SSL_CERT_FILE", str(pair.write(tmp_path)[0]))
        issuer.discovery["jwks_uri"] = plain.url + JWKS
        with pytest.raises(Unavailable):
            verifier.verify(issuer.token(), rule(issuer))
        issuer.behave()
        verifier.clock.now += REFRESH_INTERVAL
        assert verifier.believes(issuer.token(), rule(issuer))
        assert not plain.requests


PROBLEMS = {
    "redirect": (answers.REDIRECT, "302"),
    "large": (answers.LARGE, "larger"),
    "hanging": (answers.HANGING, "longer than 0.3 seconds"),
    "dripping headers": (answers.DRIPPING_HEADERS, "longer than 0.3 seconds"),
    "dripping body": (answers.DRIPPING_BODY, "longer than 0.3 seconds"),
    "not HTTP": (answers.NOT_HTTP, "220"),
    "long header": (answers.LONG_HEADER, "65536"),
    "many headers": (answers.MANY_HEADERS, "100 headers"),
    "cut": (Answer(headers={"Content-Length": "9999"}), "IncompleteRead"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_fetch_ends(issuer: Issuer, problem: str) -> None:
    """No answer keeps a fetch for longer than it may take, or makes it read more than it may."""
    answer, reason = PROBLEMS[problem]
    issuer.misbehave(JWKS, answer)
    began = time.monotonic()
    with pytest.raises(FetchFailed, match=reason):
        fetch(issuer.url + JWKS, seconds=0.3)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "file:///etc/hostname", "", "https://", "/keys", "http://localhost@x/"]
)
def test_what_is_not_fetched(url: str) -> None:
    """Only https, and http of this machine."""
    with pytest.raises(FetchFailed, match="https"):
        fetch(url)


def test_a_large_answer_that_is_allowed(issuer: Issuer) -> None:
    """A megabyte is read to its last byte, one more is too many."""
    issuer.misbehave(JWKS, Answer(body=b"x" * (1 << 20)))
    assert len(fetch(issuer.url + JWKS)) == 1 << 20
    issuer.misbehave(JWKS, Answer(body=b"x" * ((1 << 20) + 1)))
    with pytest.raises(FetchFailed, match="larger"):
        fetch(issuer.url + JWKS)


def test_a_proxy_of_the_environment_is_not_asked(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a proxy answers would not be the issuer's word."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert fetch(issuer.url + JWKS) == issuer.key_set()

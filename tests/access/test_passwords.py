"""Passwords: what is accepted, what a check costs, and what the cost must not tell."""

import asyncio
import hashlib
import statistics
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import argon2
import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import TooManyRequests
from registry.passwords import PasswordInvalid, Passwords
from tests.access.clock import SetClock

T = TypeVar("T")

RIGHT = "correct horse"
MINUTE = 60_000
MOST_REMEMBERED = 10_000


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def passwords(clock: SetClock) -> Iterator[Passwords]:
    opened = Passwords(clock)
    yield opened
    opened.close()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each slow function call that the libraries are asked for, in order; they still do it."""
    done: list[str] = []
    verify, checkpw = argon2.PasswordHasher.verify, bcrypt.checkpw

    def counted_verify(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
        done.append(stored.rsplit("$", 2)[0])
        return verify(hasher, stored, password)

    def counted_checkpw(password: bytes, stored: bytes) -> bool:
        done.append(f"bcrypt {int(stored[4:6])}")
        return checkpw(password, stored)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted_verify)
    monkeypatch.setattr(bcrypt, "checkpw", counted_checkpw)
    return done


ONE_ARGON2 = ["$argon2id$v=19$m=19456,t=2,p=1"]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def bcrypt_of(password: str, *, cost: int = 4, prefix: str = "2b") -> str:
    made = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return f"${prefix}{made[3:]}"


def test_a_password_matches_its_hash_only(passwords: Passwords) -> None:
    """A hash is argon2id with OWASP's parameters and a salt of its own."""
    stored, other = run(passwords.hash(RIGHT)), run(passwords.hash(RIGHT))
    assert stored != other
    assert stored.startswith(ONE_ARGON2[0] + "$")
    assert run(passwords.verify(stored, RIGHT))
    for wrong in ("", "correct hors", "correct horse ", "Correct horse", "correct horse\u0301"):
        assert not run(passwords.verify(stored, wrong))


@pytest.mark.parametrize("password", ["ä" * 512, "x" * 1024, "🐎" * 256, " ", "a:b", ""])
def test_any_text_up_to_1024_bytes(passwords: Passwords, password: str) -> None:
    """What can be sent is hashed and checked byte by byte, to the last."""
    stored = run(passwords.hash(password))
    assert run(passwords.verify(stored, password))
    assert not run(passwords.verify(stored, password[:-1] + "y"))


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_bcrypt(passwords: Passwords, prefix: str) -> None:
    """Every prefix that htpasswd and its like have written."""
    stored = bcrypt_of(RIGHT, prefix=prefix)
    assert run(passwords.verify(stored, RIGHT))
    assert not run(passwords.verify(stored, RIGHT + "x"))


def test_bcrypt_never_truncates(passwords: Passwords) -> None:
    """72 bytes are a password, 73 with the same beginning are none."""
    stored = bcrypt_of("x" * 72)
    assert run(passwords.verify(stored, "x" * 72))
    assert not run(passwords.verify(stored, "x" * 73))
    assert not run(passwords.verify(bcrypt_of("ä" * 36), "ä" * 37))


MALFORMED = [
    None,
    "",
    RIGHT,
    "$argon2id$",
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2Fs$",
    "$argon2id$v=19$m=19456,t=2,p=1$" + "!" * 22 + "$" + "A" * 43,
    "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "B" * 43,
    "$argon2id$v=19$m=4194304,t=2,p=1$" + "A" * 22 + "$" + "A" * 43,
    "$argon2i$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "A" * 43,
    "$2b$04$short",
    "$2b$31$" + "." * 53,
    "$2x$04$" + "." * 53,
    "$2b$04$" + "/" * 53,
    "$apr1$abcdefgh$" + "a" * 22,
    "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "\udc80",
]


@pytest.mark.parametrize("stored", MALFORMED)
def test_what_is_no_hash_costs_as_much(passwords: Passwords, work: list[str], stored: str | None) -> None:
    """No user, or a hash that cannot be checked: False, after exactly the work of a wrong password."""
    assert not run(passwords.verify(stored, RIGHT))
    assert work == ONE_ARGON2
    assert not passwords.remembers(stored, RIGHT)


def test_a_wrong_password_and_an_unknown_user_do_the_same(passwords: Passwords, work: list[str]) -> None:
    """Counted call by call."""
    stored = run(passwords.hash(RIGHT))
    for asked in (stored, None):
        work.clear()
        assert not run(passwords.verify(asked, "wrong horse"))
        assert work == ONE_ARGON2


def total(work: list[str]) -> tuple[list[str], int]:
    """The argon2 work, and the rounds of bcrypt altogether."""
    return (
        [one for one in work if one.startswith("$")],
        sum(2 ** int(one.split()[1]) for one in work if one.startswith("bcrypt")),
    )


def test_imported_users_do_not_stand_out(passwords: Passwords, work: list[str]) -> None:
    """Once a bcrypt hash was seen, every failure takes its work too, whatever is stored and however long the guess."""
    own = run(passwords.hash(RIGHT))
    dear, cheap = bcrypt_of(RIGHT, cost=7), bcrypt_of(RIGHT, cost=4)
    assert not run(passwords.verify(dear, "wrong horse"))
    for asked in (dear, cheap, own, None, "nonsense"):
        for guess in ("wrong horse", "x" * 73, ""):
            work.clear()
            assert not run(passwords.verify(asked, guess))
            assert total(work) == (ONE_ARGON2, 2**7), (asked, guess)
    work.clear()
    assert run(passwords.verify(own, RIGHT))
    assert work == ONE_ARGON2, "a login that succeeds pays for nobody else"


def test_an_unknown_user_takes_as_long(passwords: Passwords) -> None:
    """In processor time, which a busy machine hardly changes."""
    stored = run(passwords.hash(RIGHT))

    def cost(asked: str | None, guess: str) -> float:
        begun = time.process_time()
        assert not run(passwords.verify(asked, guess))
        return time.process_time() - begun

    pairs = [(cost(stored, f"wrong {number}"), cost(None, f"wrong {number}")) for number in range(7)]
    wrong, unknown = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert 1 / 3 < wrong / unknown < 3
    assert wrong > 0.002, "the work was done"


IMPOSSIBLE = ["x" * 1025, "ä" * 513, "x" * 1_000_000, "correct\0horse", "\0", "correct \ud800 horse"]


@pytest.mark.parametrize("password", IMPOSSIBLE)
def test_what_can_be_nobodys_password(passwords: Passwords, work: list[str], password: str) -> None:
    """It is never hashed, whoever is asked for: so the short answer says nothing of the user."""
    for stored in (run(passwords.hash(RIGHT)), bcrypt_of(RIGHT), None, "nonsense"):
        assert not run(passwords.verify(stored, password))
        assert not passwords.remembers(stored, password)
    assert work == []
    with pytest.raises(PasswordInvalid):
        run(passwords.hash(password))


def test_a_success_is_remembered(passwords: Passwords, clock: SetClock, work: list[str]) -> None:
    """For five minutes after the last use, for this hash and this password only."""
    stored, renewed = run(passwords.hash(RIGHT)), run(passwords.hash(RIGHT))
    assert not passwords.remembers(stored, RIGHT)
    assert run(passwords.verify(stored, RIGHT))
    for _ in range(3):
        clock.now += 5 * MINUTE - 1
        assert passwords.remembers(stored, RIGHT)
        assert run(passwords.verify(stored, RIGHT))
    assert work == ONE_ARGON2
    for asked, password in ((stored, RIGHT + "x"), (renewed, RIGHT), (None, RIGHT), ("", RIGHT)):
        assert not passwords.remembers(asked, password)
    clock.now += 5 * MINUTE
    assert not passwords.remembers(stored, RIGHT)


def test_a_failure_is_not_remembered(passwords: Passwords, work: list[str]) -> None:
    """A wrong password takes the work each time."""
    stored = run(passwords.hash(RIGHT))
    for _ in range(3):
        assert not run(passwords.verify(stored, "wrong horse"))
    assert not passwords.remembers(stored, "wrong horse")
    assert work == ONE_ARGON2 * 3


def test_a_clock_set_back_forgets(passwords: Passwords, clock: SetClock) -> None:
    """A success never lasts longer because the clock was wrong."""
    stored = bcrypt_of(RIGHT)
    assert run(passwords.verify(stored, RIGHT))
    clock.now -= 60 * MINUTE
    assert not passwords.remembers(stored, RIGHT)


def test_what_is_remembered_is_no_password(passwords: Passwords) -> None:
    """Neither the password, nor the hash, nor anything that can be computed without the process's key."""
    stored = bcrypt_of(RIGHT)
    assert run(passwords.verify(stored, RIGHT))
    (key,) = passwords._successes._used_at
    known = {hashlib.sha256(text.encode()).digest() for text in (RIGHT, stored + RIGHT, f"{stored}\0{RIGHT}")}
    assert len(key) == 32
    assert key not in known
    assert passwords._successes._secret != Passwords(time.monotonic_ns)._successes._secret


def test_memory_of_successes_is_bounded(passwords: Passwords) -> None:
    """The one that was used longest ago is forgotten first."""
    successes = passwords._successes
    keys = [successes.key("stored", b"%d" % number) for number in range(MOST_REMEMBERED + 1)]
    for key in keys[:-1]:
        successes.add(key)
    assert successes.has(keys[0])
    successes.add(keys[-1])
    assert len(successes._used_at) == MOST_REMEMBERED
    assert [successes.has(key) for key in (keys[0], keys[1], keys[2], keys[-1])] == [True, False, True, True]


@given(st.text("a$\0", max_size=4), st.text("a$", max_size=4), st.text("a$\0", max_size=4), st.text("a$", max_size=4))
def test_pairs_are_told_apart(stored: str, password: str, other_stored: str, other_password: str) -> None:
    """No hash and password together read as another hash and password."""
    successes = Passwords(time.monotonic_ns)._successes
    are_equal = (stored, password) == (other_stored, other_password)
    assert are_equal == (
        successes.key(stored, password.encode()) == successes.key(other_stored, other_password.encode())
    )


class HeldHasher(argon2.PasswordHasher):
    """Real, but begins only when it is let go."""

    def __init__(self) -> None:
        super().__init__(time_cost=2, memory_cost=19_456, parallelism=1)
        self.release = threading.Event()
        self.begun = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002  # the library's name
        self.begun += 1
        assert self.release.wait(60)
        return super().verify(hash, password)


def held(clock: SetClock, *, threads: int, most_waiting: int) -> tuple[Passwords, HeldHasher]:
    opened, hasher = Passwords(clock, threads=threads, most_waiting=most_waiting), HeldHasher()
    opened._argon2 = hasher
    return opened, hasher


async def begin(opened: Passwords, stored: str | None, passwords: list[str]) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(opened.verify(stored, password)) for password in passwords]
    await asyncio.sleep(0)  # each task runs up to where it waits
    return tasks


def test_the_queue_is_bounded(clock: SetClock) -> None:
    """One check more than run and may wait is refused with a time to wait, then there is room again."""
    opened, hasher = held(clock, threads=2, most_waiting=3)

    async def crowd() -> None:
        stored = await opened.hash(RIGHT)
        tasks = await begin(opened, stored, ["wrong"] * 5)
        for asked in (stored, None):
            with pytest.raises(TooManyRequests) as refusal:
                await opened.verify(asked, RIGHT)
            assert 1 <= int(refusal.value.headers["Retry-After"]) <= 10
        with pytest.raises(TooManyRequests):
            await opened.hash(RIGHT)
        assert not await opened.verify(None, "x" * 2000), "what needs no work needs no room"
        hasher.release.set()
        assert await asyncio.gather(*tasks) == [False] * 5
        assert await opened.verify(stored, RIGHT)

    run(crowd())
    opened.close()


def test_who_gives_up_makes_no_room_before_the_work_is_done(clock: SetClock) -> None:
    """To connect, ask and leave again and again fills no queue beyond its bound, and leaks no place in it."""
    opened, hasher = held(clock, threads=1, most_waiting=1)

    async def leave() -> None:
        for task in await begin(opened, None, ["one", "two"]):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TooManyRequests):
            await opened.verify(None, "three")
        hasher.release.set()
        await asyncio.wrap_future(opened._pool.submit(int))  # the one thread has come to what was asked last
        assert not await opened.verify(None, "four")

    run(leave())
    assert hasher.begun == 3
    opened.close()


def test_many_jobs_with_one_password_need_few_checks(clock: SetClock) -> None:
    """Those that wait while the first ones succeed take their answer from memory."""
    opened, hasher = held(clock, threads=2, most_waiting=64)

    async def begin_at_once() -> list[bool]:
        stored = await opened.hash(RIGHT)
        tasks = await begin(opened, stored, [RIGHT] * 60)
        hasher.release.set()
        return await asyncio.gather(*tasks)

    assert run(begin_at_once()) == [True] * 60
    assert hasher.begun <= 3
    opened.close()


def test_the_event_loop_lives(clock: SetClock) -> None:
    """While checks run, others are served: even if a check never ended."""
    opened, hasher = held(clock, threads=1, most_waiting=8)

    async def serve() -> int:
        tasks = await begin(opened, None, ["wrong"] * 4)
        turns = 0
        for _ in range(1000):
            await asyncio.sleep(0)
            turns += 1
        assert not any(task.done() for task in tasks)
        hasher.release.set()
        await asyncio.gather(*tasks)
        return turns

    assert run(serve()) == 1000
    opened.close()


def threads_of_passwords() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("passwords")]


def test_threads_begin_lazily_and_end(clock: SetClock) -> None:
    """None when made, at most two in use, none after the end."""
    assert threads_of_passwords() == []
    opened = Passwords(clock)
    assert threads_of_passwords() == []

    async def crowd() -> None:
        await asyncio.gather(*(opened.verify(None, f"wrong {number}") for number in range(8)))

    run(crowd())
    assert len(threads_of_passwords()) == 2
    opened.close()
    assert threads_of_passwords() == []

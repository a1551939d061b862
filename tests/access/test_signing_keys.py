"""The keys that sign tokens: how they take turns, in one process and in several, and what is remembered meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.access.scopes import Scopes
from registry.errors import RequestInvalid, Unavailable
from registry.identity import Actor
from registry.metadata import epochs, signing_keys
from registry.metadata.database import Database
from registry.metadata.signing_keys import SigningKey
from registry.tokens import TokenExpired, TokenInvalid, Tokens
from tests.access.clock import SetClock
from tests.access.forging import SCOPES, SERVICE, open_database, start
from tests.metadata.rows import rows

pytestmark = pytest.mark.anyio

HOUR, DAY = 3_600_000, 24 * 3_600_000
OPERATOR = Actor("cli:root")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def issue(tokens: Tokens, seconds: int = 300) -> str:
    return tokens.issue([(7, 3)], "alice", SCOPES, seconds)[0]


def judge(tokens: Tokens, token: str) -> str:
    try:
        return tokens.verify(token).subject
    except TokenExpired:
        return "expired"
    except TokenInvalid:
        return "invalid"


def published(tokens: Tokens) -> int:
    """How many keys."""
    keys = tokens.jwks()["keys"]
    assert isinstance(keys, list)
    return len({key["kid"] for key in keys})


async def stored(database: Database) -> list[SigningKey]:
    return await database.read(signing_keys.list_keys)


async def epoch(database: Database) -> int:
    return await database.read(epochs.get_epoch)


async def changes(database: Database) -> list[tuple[str, str, str, str]]:
    return [(*row,) for row in await rows(database, "SELECT actor, action, subject, detail FROM change")]


async def test_a_rotation(database: Database, clock: SetClock) -> None:
    """The next key signs; tokens of the old one work until they expire."""
    tokens = await start(database, clock)
    old = issue(tokens)
    clock.now += 1000
    await tokens.rotate(OPERATOR)
    new = issue(tokens)
    assert old.partition(".")[0] != new.partition(".")[0]
    assert (judge(tokens, old), judge(tokens, new), published(tokens)) == ("alice", "alice", 2)
    clock.now += 299_000
    assert (judge(tokens, old), judge(tokens, new)) == ("expired", "alice")


async def test_a_retired_key_ends(database: Database, clock: SetClock) -> None:
    """Two hours after its retirement, to the millisecond, also for tokens that would live longer, remembered or not."""
    tokens = await start(database, clock)
    shown, new = issue(tokens, 86_400), issue(tokens, 86_400)
    await tokens.rotate(OPERATOR)
    clock.now += 2 * HOUR - 1
    assert (judge(tokens, shown), published(tokens)) == ("alice", 2)
    clock.now += 1
    assert (judge(tokens, shown), judge(tokens, new), published(tokens)) == ("invalid", "invalid", 1)
    assert len(await stored(database)) == 2
    await tokens.rotate_if_due()
    assert len(await stored(database)) == 1
    assert judge(tokens, issue(tokens)) == "alice"


async def test_a_rotation_at_once(database: Database, clock: SetClock) -> None:
    """Every token out there is refused, remembered or not, also of keys that had been retired."""
    tokens = await start(database, clock)
    first = issue(tokens)
    await tokens.rotate(OPERATOR)
    second, third = issue(tokens), issue(tokens)
    assert (judge(tokens, first), judge(tokens, second)) == ("alice", "alice")
    clock.now -= 1000  # a clock that was set back must not save a key
    await tokens.rotate(OPERATOR, at_once=True)
    assert [judge(tokens, token) for token in (first, second, third)] == ["invalid"] * 3
    assert (published(tokens), len(await stored(database))) == (1, 1)
    assert judge(tokens, issue(tokens)) == "alice"


async def test_rotations_reach_other_processes(database: Database, clock: SetClock) -> None:
    """The epoch tells each process when to read the keys again."""
    here, there = await start(database, clock), await start(database, clock)
    old = issue(there)
    assert judge(here, old) == "alice"
    seen = await epoch(database)
    await here.rotate(OPERATOR)
    assert await epoch(database) > seen
    new = issue(here)
    assert judge(there, new) == "invalid"
    await there.load()
    assert (judge(there, old), judge(there, new), there.jwks()) == ("alice", "alice", here.jwks())
    seen = await epoch(database)
    await Tokens(database, clock, str).rotate(OPERATOR, at_once=True)  # the command line
    assert await epoch(database) > seen
    await here.load()
    assert (judge(here, old), judge(here, new)) == ("invalid", "invalid")


async def test_each_change_of_keys_raises_the_epoch(database: Database) -> None:
    """And what changes nothing does not."""
    key = SigningKey("kid", bytes(32), 1)
    seen = []
    for work in (
        lambda tx: signing_keys.insert(tx, key),
        lambda tx: signing_keys.retire_all(tx, 2),
        lambda tx: signing_keys.retire_all(tx, 3),
        lambda tx: signing_keys.remove_retired(tx, 1),
        lambda tx: signing_keys.remove_retired(tx, 2),
        lambda tx: signing_keys.insert(tx, key),
        signing_keys.remove_all,
        signing_keys.remove_all,
    ):
        before = await epoch(database)
        await database.write(work)
        seen.append(await epoch(database) > before)
    assert seen == [True, True, False, False, True, True, True, False]


async def test_a_restart_keeps_the_key(database: Database, clock: SetClock) -> None:
    """And changes nothing in the database, until the key has signed for 30 days."""
    token = issue(await start(database, clock), 3600)
    seen = await epoch(database)
    clock.now += HOUR - 1000
    assert judge(await start(database, clock), token) == "alice"
    clock.now += 30 * DAY - HOUR + 999
    await start(database, clock)
    assert (len(await stored(database)), await epoch(database)) == (1, seen)
    clock.now += 1
    tokens = await start(database, clock)
    assert (len(await stored(database)), published(tokens)) == (2, 2)
    clock.now += 2 * HOUR
    await start(database, clock)
    assert len(await stored(database)) == 1
    assert [row[:2] for row in await changes(database)] == [("entrepot", "key.rotate")]


async def test_processes_that_find_a_key_due_together(database: Database, clock: SetClock) -> None:
    """One of them replaces it; the others take what it has made."""
    started = await asyncio.gather(*(start(database, clock) for _ in range(4)))
    assert len(await stored(database)) == 1
    clock.now += 30 * DAY
    await asyncio.gather(*(tokens.rotate_if_due() for tokens in started))
    assert len(await stored(database)) == 2
    assert len(await changes(database)) == 1
    token = issue(started[0])
    assert {judge(tokens, token) for tokens in started} == {"alice"}


async def test_the_change_log(database: Database, clock: SetClock) -> None:
    """Says who replaced a key by which; the first one replaces nothing."""
    tokens = await start(database, clock)
    assert await changes(database) == []
    await tokens.rotate(OPERATOR)
    await tokens.rotate(OPERATOR, at_once=True)
    log = await changes(database)
    assert [(row[0], row[1], row[3]) for row in log] == [
        ("cli:root", "key.rotate", ""),
        ("cli:root", "key.rotate", "at once"),
    ]
    assert log[1][2] == (await stored(database))[0].kid != log[0][2]


@pytest.mark.parametrize(("column", "value"), [("private_key", b"\0"), ("private_key", bytes(32)), ("kid", "another")])
async def test_a_damaged_key(database: Database, clock: SetClock, column: str, value: bytes | str) -> None:
    """A key that is not what its kid says is never used: the refusal names the command that mends it."""
    await start(database, clock)
    await database.write(lambda tx: tx.run(f"UPDATE signing_key SET {column} = :value", value=value))
    with pytest.raises(Unavailable, match="entrepot key rotate --at-once"):
        await start(database, clock)
    await Tokens(database, clock, str).rotate(OPERATOR, at_once=True)
    tokens = await start(database, clock)
    assert judge(tokens, issue(tokens)) == "alice"


async def test_tokens_of_others(database: Database, clock: SetClock, tmp_path: Path) -> None:
    """Another registry of the same name has other keys, and this one under another name another audience."""
    tokens = await start(database, clock)
    token = issue(tokens)
    second = await open_database(tmp_path / "second")
    other = await start(second, clock)
    assert (judge(other, token), judge(tokens, issue(other))) == ("invalid", "invalid")
    second.close()
    renamed = Tokens(database, clock, str)
    await renamed.start(f"{SERVICE}0")
    assert judge(renamed, token) == "invalid"
    never_started = Tokens(database, clock, str)
    assert judge(never_started, token) == "invalid"
    with pytest.raises(Unavailable):
        never_started.issue([], "", SCOPES, 300)


async def test_what_has_no_room(database: Database, clock: SetClock) -> None:
    """Who asks for too much is told so, and never gets a token that is refused later."""
    tokens = await start(database, clock)
    short = {f"a{number}": frozenset({"pull"}) for number in range(200)}
    for number in range(100):
        few = dict(list(short.items())[: number + 1])
        assert tokens.verify(tokens.issue([], "", Scopes(few), 300)[0]).scopes == Scopes(few)
    with pytest.raises(RequestInvalid):
        tokens.issue([], "", Scopes({f"{'a' * 200}{name}": actions for name, actions in short.items()}), 300)
    with pytest.raises(RequestInvalid):
        tokens.issue([(number, 0) for number in range(201)], "", SCOPES, 300)
    for seconds in (0, -1, 86_401):
        with pytest.raises(ValueError, match="1 to 86400 seconds"):
            tokens.issue([], "", SCOPES, seconds)


async def test_what_is_remembered(database: Database, clock: SetClock) -> None:
    """The last tokens, until they expire or the keys change; the oldest one makes room."""
    tokens = await start(database, clock, most_verified=3)
    several = [issue(tokens) for _ in range(4)]
    claims = [tokens.verify(token) for token in several]
    assert [tokens.verify(token) is known for token, known in zip(several[1:], claims[1:], strict=True)] == [True] * 3
    await tokens.load()
    assert tokens.verify(several[3]) is claims[3], "the keys are the same"
    again = tokens.verify(several[0])
    assert again == claims[0]
    assert again is not claims[0]
    assert len(tokens._verified) == 3
    await tokens.rotate(OPERATOR)
    assert tokens.verify(several[3]) is not claims[3]
    clock.now += 299_999
    assert judge(tokens, several[3]) == "alice"
    clock.now += 1
    assert [judge(tokens, token) for token in several] == ["expired"] * 4
    assert len(tokens._verified) == 0, "an expired token is forgotten when it is shown"


async def test_by_default_ten_thousand_are_remembered(database: Database, clock: SetClock) -> None:
    """So a registry's memory is bounded, whoever comes."""
    assert Tokens(database, clock, str)._most_verified == 10_000


async def test_a_private_key_is_never_shown(database: Database, clock: SetClock) -> None:
    """Neither by what is published, nor by a row in a traceback."""
    tokens = await start(database, clock)
    (row,) = await stored(database)
    for shown in (repr(row), repr(tokens.jwks()), repr(tokens.__dict__)):
        assert row.private_key.hex() not in shown
        assert repr(row.private_key) not in shown

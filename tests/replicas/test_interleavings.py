"""Answers of the database come late and in another order: what was read earlier never undoes what is newer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.access.globs import RepositoryGlob
from registry.access.grants import Action, Grant
from registry.access.scopes import Scopes
from registry.app import Registry, new_id
from registry.auth import AnonymousAccess, Auth, Basic, Bearer, LoginFailed
from registry.errors import DigestInvalid, UploadUnknown
from registry.federation import Federation
from registry.identity import Actor
from registry.leases import Leases
from registry.metadata.identities import Kind
from registry.metadata.lookups import Lookup
from registry.oci.names import RepositoryName, Tag
from registry.tokens import TokenInvalid, Tokens
from registry.uploads import Chunk, Uploads, UploadTerms
from storage.digest import Digest
from tests.places import make_config
from tests.replicas.held import HeldDatabase
from tests.scenarios.client import Client, pieces
from tests.scenarios.images import Content, make_image
from tests.stored import read_rows

pytestmark = pytest.mark.anyio

BY = Actor("somebody")
NAME = RepositoryName("acme/app")
GRANT = Grant(RepositoryGlob("**"), frozenset({Action.PULL}))
LEASE = 3_600_000
START, OURS, THEIRS = b"begun ", b"by us", b"other"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    opened = Registry(make_config(tmp_path))
    await opened.start()
    yield opened
    opened.close()


@pytest.fixture
def held(registry: Registry) -> HeldDatabase:
    return HeldDatabase(registry.database)


@pytest.fixture
async def auth(registry: Registry, held: HeldDatabase) -> Auth:
    """That of a server whose database answers when the test says so."""
    return await make_auth(registry, held)


async def make_auth(registry: Registry, held: HeldDatabase, anonymous: AnonymousAccess = AnonymousAccess.NONE) -> Auth:
    tokens = Tokens(held, registry.clock, new_id)
    await tokens.start("service")
    federation = Federation(registry.clock)
    return Auth(held, registry.clock, tokens, registry.passwords, federation, registry.audit, anonymous=anonymous)


async def token_of_robot(registry: Registry, auth: Auth) -> Bearer:
    """Of one that may pull, and that the server knows from a request before."""
    basic = Basic("ci", await registry.identities.add_robot("ci", [GRANT], None, BY))
    await auth.refresh()
    asked = Scopes({NAME.value: frozenset({"pull", "push"})})
    return Bearer(auth.issue(await auth.identify(basic, BY), asked)[0])


@pytest.mark.parametrize("number", [1, 2])
async def test_an_older_look_at_access_never_wins(
    registry: Registry, held: HeldDatabase, auth: Auth, number: int
) -> None:
    """A looks before the first user is made, and hears of it after B has seen the user: the registry stays closed."""
    async with held.holding("read", number) as gate:
        late = asyncio.create_task(auth.refresh())
        await gate.arrived.wait()
        await registry.identities.add_robot("ci", [GRANT], None, BY)
        await auth.refresh()
        assert not auth.is_open
    await late
    assert not auth.is_open
    await auth.refresh()
    assert not auth.is_open


async def test_older_rights_are_not_remembered(registry: Registry, held: HeldDatabase, auth: Auth) -> None:
    """A reads a robot's grants, B sees them revoked, A hears of what it has read: B's next request has none of them."""
    basic = Basic("ci", await registry.identities.add_robot("ci", [GRANT], None, BY))
    await auth.refresh()
    async with held.holding("read", 3) as gate:  # after the robot's row and the epoch
        late = asyncio.create_task(auth.identify(basic, BY))
        await gate.arrived.wait()
        await registry.identities.revoke("ci", GRANT.repositories, BY)
        await auth.refresh()
    assert (await late).grants == (GRANT,)  # it began before
    assert (await auth.identify(basic, BY)).grants == ()


async def test_who_is_disabled_while_somebody_logs_in_stays_out(
    registry: Registry, held: HeldDatabase, auth: Auth
) -> None:
    """The login that began before may end well; none that begins after it does."""
    basic = Basic("ci", await registry.identities.add_robot("ci", [GRANT], None, BY))
    await auth.refresh()
    async with held.holding("read", 3) as gate:
        late = asyncio.create_task(auth.identify(basic, BY))
        await gate.arrived.wait()
        await registry.identities.set_disabled(Kind.ROBOT, "ci", BY, is_disabled=True)
        await auth.refresh()
    await late
    with pytest.raises(LoginFailed):
        await auth.identify(basic, BY)


async def test_who_is_recalled_is_confirmed_by_the_epoch_of_then(registry: Registry, auth: Auth) -> None:
    """A recalls a robot's grants, B sees them revoked, A's lookup has the new epoch: A is not confirmed by it."""
    token = await token_of_robot(registry, auth)
    recalled = auth.recall(token, Action.PULL, NAME)
    assert recalled
    assert recalled.is_confirmed(await registry.manifests.look_up(NAME, Tag("latest")))
    await registry.identities.revoke("ci", GRANT.repositories, BY)
    late = await registry.manifests.look_up(NAME, Tag("latest"))
    assert not recalled.is_confirmed(late)
    await auth.refresh()
    assert not recalled.is_confirmed(late)
    assert auth.recall(token, Action.PULL, NAME) is None


async def test_a_token_is_not_recalled_for_a_repository_that_was_deleted_since(registry: Registry, auth: Auth) -> None:
    """The lookup says when that was: what is there now may be somebody else's."""
    token = await token_of_robot(registry, auth)
    recalled = auth.recall(token, Action.PULL, NAME)
    assert recalled
    assert not recalled.is_confirmed(Lookup(recalled.epoch, recalled.caller.issued_at, None))
    assert recalled.is_confirmed(Lookup(recalled.epoch, recalled.caller.issued_at - 1, None))


async def test_nothing_is_recalled_that_was_never_known(registry: Registry, held: HeldDatabase, auth: Auth) -> None:
    """A server that has just started recalls no token, and no stranger whom a lookup would confirm."""
    token = await token_of_robot(registry, auth)
    fresh = await make_auth(registry, held, AnonymousAccess.PULL)
    assert fresh.recall(token, Action.PULL, NAME) is None
    stranger = fresh.recall(None, Action.PULL, NAME)
    assert stranger
    assert not stranger.is_confirmed(await registry.manifests.look_up(NAME, Tag("latest")))


async def test_nobody_is_recalled_who_may_not(registry: Registry, auth: Auth) -> None:
    """What the caller may not do, a token that is none, and passwords are for the questions that are always asked."""
    token = await token_of_robot(registry, auth)
    assert auth.recall(token, Action.PULL, NAME)
    assert auth.recall(token, Action.PUSH, NAME) is None
    for credentials in (None, Bearer("a.b.c"), Basic("ci", "whatever")):
        assert auth.recall(credentials, Action.PULL, NAME) is None


async def test_older_keys_never_come_back(registry: Registry, held: HeldDatabase, auth: Auth) -> None:
    """A reads the keys, they are all replaced, B sees the new ones: A must not bring back what was taken away."""
    tokens = Tokens(held, registry.clock, new_id)
    await tokens.start("service")
    others = Tokens(registry.database, registry.clock, new_id)
    await others.start("service")
    caller = await auth.identify(None, BY)
    old, _ = auth.issue(caller, Scopes({}))
    async with held.holding("read") as gate:
        late = asyncio.create_task(tokens.load())
        await gate.arrived.wait()
        await others.rotate(BY, at_once=True)
        await tokens.load()
    await late
    with pytest.raises(TokenInvalid):
        tokens.verify(old)


async def test_a_flush_ends_when_all_that_was_noted_is_written(registry: Registry, held: HeldDatabase) -> None:
    """Also what another flush has begun to write; and one that is cut off forgets nothing."""
    digest = Digest.of(START)
    await registry.uploads.push(NAME, digest, Chunk(pieces(START)), BY)
    later = registry.clock() + 48 * LEASE  # so that the lease of the push is not long enough
    leases = Leases(held, lambda: later, LEASE)
    await Client(registry).push_manifest(NAME.value, make_image(Content("", START)), "named")
    await leases.hold(NAME, digest)
    async with held.holding("begin") as gate:
        first = asyncio.create_task(leases.flush())
        await gate.arrived.wait()
        second = asyncio.create_task(leases.flush())
        await asyncio.sleep(0)
        assert not second.done()
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
    await second
    until = read_rows(registry.config, "SELECT lease_until FROM repository_blob")[0][0]
    assert until == later + LEASE


class Late:
    """A server that has claimed an upload and hears of it late; meanwhile `registry`'s goes on with the upload."""

    def __init__(self, registry: Registry, held: HeldDatabase) -> None:
        self.registry = registry
        self.uploads = Uploads(
            held, registry.store, registry.clock, new_id, UploadTerms(LEASE, blob_bytes=1 << 30, at_once=100)
        )

    async def begin(self, *chunks: bytes) -> str:
        session = await self.registry.uploads.start(NAME, "sha256", BY)
        for chunk in chunks:
            await self.registry.uploads.append(NAME, session.id, Chunk(pieces(chunk)), BY)
        return session.id

    async def complete(self, session: str, rest: bytes, content: bytes) -> None:
        await self.registry.uploads.complete(NAME, session, Chunk(pieces(rest)), Digest.of(content), BY)

    async def read(self, content: bytes) -> bytes:
        digest = Digest.of(content)
        key = read_rows(self.registry.config, "SELECT storage_key FROM blob WHERE digest = ?", str(digest))[0][0]
        assert await self.registry.store.digest_stored(key, "sha256") == digest
        return content


@pytest.fixture
def late(registry: Registry, held: HeldDatabase) -> Late:
    return Late(registry, held)


@pytest.mark.fault("F47")
@pytest.mark.parametrize("start", [(), (START,)])
@pytest.mark.parametrize("does", ["append", "complete", "cancel"])
async def test_a_late_writer_changes_nothing(
    late: Late, held: HeldDatabase, start: tuple[bytes, ...], does: str
) -> None:
    """A claims and sleeps, B claims, appends and completes: A's bytes go nowhere, and B's blob is whole."""
    session = await late.begin(*start)
    content = b"".join(start) + THEIRS
    async with held.holding("write") as gate:
        asleep: asyncio.Task[object]
        if does == "append":
            asleep = asyncio.create_task(late.uploads.append(NAME, session, Chunk(pieces(OURS)), BY))
        elif does == "complete":
            digest = Digest.of(b"".join(start) + OURS)
            asleep = asyncio.create_task(late.uploads.complete(NAME, session, Chunk(pieces(OURS)), digest, BY))
        else:
            asleep = asyncio.create_task(late.uploads.cancel(NAME, session, BY))
        await gate.arrived.wait()
        await late.complete(session, THEIRS, content)
    with pytest.raises(UploadUnknown):
        await asleep
    await late.read(content)


@pytest.mark.fault("F47")
async def test_a_late_writer_leaves_the_others_chunk(late: Late, held: HeldDatabase) -> None:
    """B's chunk is acknowledged and its upload goes on, though A opens the upload where it stood before."""
    session = await late.begin(START)
    async with held.holding("write") as gate:
        asleep = asyncio.create_task(late.uploads.append(NAME, session, Chunk(pieces(OURS)), BY))
        await gate.arrived.wait()
        await late.registry.uploads.append(NAME, session, Chunk(pieces(THEIRS)), BY)
    with pytest.raises(UploadUnknown):
        await asleep
    await late.complete(session, b"", START + THEIRS)
    await late.read(START + THEIRS)


async def test_a_hash_of_what_was_not_recorded_is_not_used(registry: Registry) -> None:
    """A writes and does not get to record it, B writes as many other bytes there: no digest of A's is taken for B's."""
    store = registry.store
    session = await registry.uploads.start(NAME, "sha256", BY)
    ours = await store.append(session.state, pieces(OURS))
    elsewhere = Registry(registry.config)  # another process has its own hashes
    try:
        await elsewhere.uploads.append(NAME, session.id, Chunk(pieces(THEIRS)), BY)
    finally:
        elsewhere.close()
    assert ours.offset == len(THEIRS)
    with pytest.raises(DigestInvalid):
        await registry.uploads.complete(NAME, session.id, Chunk(pieces(b"")), Digest.of(OURS), BY)

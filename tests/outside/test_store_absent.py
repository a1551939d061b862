"""What does not need the object store is done without it (F25): removals end what they remove, bytes go later."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from registry.app import Registry
from registry.identity import Actor
from registry.metadata.identities import Kind
from registry.oci.names import RepositoryName
from tests import places
from tests.api.content import fresh_blob
from tests.outside.client import LARGE, ask
from tests.outside.conftest import Shop, in_bucket
from tests.servers.s3_proxy import SLOW_DOWN

_OPERATOR = Actor("cli:root")
_PASSWORD = "correct horse battery"  # noqa: S105 - of a user of these tests


def do(shop: Shop, work: Callable[[Registry], Awaitable[object]]) -> None:
    """What a command does that was begun before the outage."""

    async def run() -> None:
        registry = Registry(places.make_config(shop.server.folder, **in_bucket(shop.place, shop.store.endpoint)))
        try:
            await work(registry)
        finally:
            registry.close()

    asyncio.run(run())


def begin(shop: Shop) -> str:
    """The Location of a session with bytes."""
    session = shop.customer.ask("POST", "blobs/uploads/")["Location"]
    assert ask(shop.server, "PATCH", session, body=fresh_blob(LARGE)).status == 202
    return session


@pytest.mark.fault("F25")
def test_f25_a_repository_is_deleted_during_an_outage(shop: Shop) -> None:
    """With its sessions; their bytes are the collector's."""
    shop.customer.push_image("v1")
    session = begin(shop)
    shop.store.break_(SLOW_DOWN)
    do(shop, lambda registry: registry.repositories.delete(RepositoryName(shop.customer.repository.name), _OPERATOR))
    assert shop.customer.ask("GET", "manifests/v1").status == 404
    assert ask(shop.server, "GET", session).status == 404


@pytest.mark.fault("F25")
def test_f25_a_session_is_cancelled_during_an_outage(shop: Shop) -> None:
    """Its end is certain, whatever becomes of its bytes."""
    session = begin(shop)
    shop.store.break_(SLOW_DOWN)
    assert ask(shop.server, "DELETE", session).status == 204
    assert ask(shop.server, "GET", session).status == 404


@pytest.mark.fault("F25")
def test_f25_a_user_is_removed_during_an_outage(shop: Shop) -> None:
    """Rights end at once."""
    do(shop, lambda registry: registry.identities.add_user("alice", _PASSWORD, _OPERATOR, is_admin=True))
    do(shop, lambda registry: registry.identities.add_user("bob", _PASSWORD, _OPERATOR))
    shop.store.break_(SLOW_DOWN)
    do(shop, lambda registry: registry.identities.remove(Kind.USER, "bob", _OPERATOR))
    do(shop, lambda registry: registry.identities.add_user("bob", _PASSWORD, _OPERATOR))

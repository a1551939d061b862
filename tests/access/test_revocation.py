"""What is taken away is gone with the next request, with the same token, which has minutes to live."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from registry.access.globs import RepositoryGlob
from registry.access.grants import Grant
from registry.access.trusts import TrustRule
from registry.app import Registry
from registry.auth import Basic, LoginFailed
from registry.metadata.identities import Kind
from registry.oci.names import RepositoryName
from registry.passwords import Passwords
from tests.access.issuer import make_key
from tests.access.login import (
    ADMIN,
    OPERATOR,
    PASSWORD,
    PAUSE,
    House,
    OwnRepository,
    access_of,
    basic,
    bearer,
    claims_of,
    fresh_user,
)
from tests.access.test_credentials import ISSUER, mint
from tests.api.content import digest_of

KEY = make_key("EdDSA", "revoked")


@dataclass(frozen=True, slots=True)
class Loss:
    """`grants` and `groups` are what the user has before `happens`; `is_gone`: the token is 401, else it opens less."""

    title: str
    happens: Callable[[House, str], None]
    is_gone: bool


def disable(house: House, name: str) -> None:
    house.do(lambda registry: registry.identities.set_disabled(Kind.USER, name, OPERATOR, is_disabled=True))


def enable(house: House, name: str) -> None:
    house.do(lambda registry: registry.identities.set_disabled(Kind.USER, name, OPERATOR, is_disabled=False))


def remove(house: House, name: str, kind: Kind = Kind.USER) -> None:
    house.do(lambda registry: registry.identities.remove(kind, name, OPERATOR))


def replace(house: House, name: str) -> None:
    remove(house, name)
    house.add_user(("acme/*", "pull,push"), name=name)


def change_password(house: House, name: str) -> None:
    house.do(lambda registry: registry.identities.set_password(name, PASSWORD + " new", OPERATOR))


def keep_password(house: House, name: str) -> None:
    house.do(lambda registry: registry.identities.set_password(name, PASSWORD, OPERATOR))


def revoke(house: House, name: str, glob: str = "acme/*") -> None:
    house.do(lambda registry: registry.identities.revoke(name, RepositoryGlob.parse(glob), OPERATOR))


def move(house: House, name: str) -> None:
    revoke(house, name)
    house.grant(name, "other/*", "pull,push")


def rotate_key(house: House, _name: str) -> None:
    house.do(lambda registry: registry.tokens.rotate(OPERATOR, at_once=True))


LOSSES = [
    Loss("disabled", disable, is_gone=True),
    Loss("removed", remove, is_gone=True),
    Loss("removed, and a namesake added", replace, is_gone=True),
    Loss("another password", change_password, is_gone=True),
    Loss("the same password set again", keep_password, is_gone=True),
    Loss("the key replaced", rotate_key, is_gone=True),
    Loss("grant revoked", revoke, is_gone=False),
    Loss("grant moved elsewhere", move, is_gone=False),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.title)
def test_a_user_loses(house: House, loss: Loss) -> None:
    """The token that worked a moment ago is refused; so is the password where it should be."""
    name = house.add_user(("acme/*", "pull,push"))
    token = house.log_in(name, "repository:acme/app:pull,push")
    assert house.call("GET", "/v2/acme/app/tags/list", bearer(token)).code == "NAME_UNKNOWN"
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).code == "MANIFEST_UNKNOWN"
    loss.happens(house, name)
    # First what a server that knows the user's rights could answer without asking whether they still hold.
    paths = ("manifests/.bad", "manifests/sha256:bad", "manifests/x", "tags/list")
    for method, path in (*(("GET", path) for path in paths), ("HEAD", "manifests/x"), ("POST", "blobs/uploads/")):
        reply = house.call(method, f"/v2/acme/app/{path}", bearer(token))
        assert reply.status == (401 if loss.is_gone else 404), path
        assert loss.is_gone or method == "HEAD" or reply.code == "NAME_UNKNOWN"  # hidden, not only missing
    assert house.call("GET", "/v2/", bearer(token)).status == (401 if loss.is_gone else 200)


def test_enabled_again(house: House) -> None:
    """A user who comes back has the rights of this moment by the password; the old tokens stay ended."""
    name = house.add_user(("acme/*", "pull"))
    token = house.log_in(name, "repository:acme/app:pull")
    disable(house, name)
    assert house.call("GET", "/v2/", basic(name)).status == 401
    enable(house, name)
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).status == 401
    assert house.call("GET", "/v2/acme/app/manifests/x", basic(name)).code == "MANIFEST_UNKNOWN"


def test_a_disabled_user_by_every_door(house: House) -> None:
    """CVE-2026-58422: no way to log in lets a disabled user in, or enables anybody."""
    name = house.add_user(("acme/*", "pull"))
    token = house.log_in(name, "repository:acme/app:pull")
    disable(house, name)
    replies = [
        house.call("GET", "/v2/", basic(name)),
        house.call("GET", "/v2/", bearer(token)),
        house.ask(headers=(basic(name),)),
        house.ask(headers=(bearer(token),)),
        house.ask(account=name, headers=(basic(name),)),
        house.post(grant_type="password", username=name, password=PASSWORD, service=house.service),
        house.post(grant_type="refresh_token", refresh_token=token, service=house.service),
        house.exchange(token),
        house.ask(headers=(basic("oidc", token),)),
    ]
    assert [reply.status for reply in replies] == [401] * len(replies)
    listed = house.do(lambda registry: registry.identities.list_kind(Kind.USER))
    assert [one.identity.disabled_at is None for one in listed if one.identity.name == name] == [False]


class Interrupted(Passwords):
    """Somebody acts while a password is being checked."""

    meanwhile: Callable[[], Awaitable[object]]

    async def verify(self, stored: str | None, password: str) -> bool:
        is_right = await super().verify(stored, password)
        await self.meanwhile()
        return is_right


@pytest.mark.parametrize("what", ["disabled", "removed"])
def test_shut_out_while_the_password_is_checked(house: House, what: str) -> None:
    """A checks a password, B shuts the user out, A is not let in by what is remembered of the user."""
    name = house.add_user(("acme/*", "pull"))

    async def work(registry: Registry) -> None:
        known, passwords = registry.identities, Interrupted(house.clock)
        passwords.meanwhile = registry.auth.refresh
        registry.auth._passwords = passwords
        await registry.auth.refresh()
        await registry.auth.identify(Basic(name, PASSWORD), OPERATOR)  # from now on the user's rights are remembered
        house.clock.now += 10 * PAUSE  # and the password no longer
        if what == "disabled":
            passwords.meanwhile = lambda: known.set_disabled(Kind.USER, name, OPERATOR, is_disabled=True)
        else:
            passwords.meanwhile = lambda: known.remove(Kind.USER, name, OPERATOR)
        try:
            with pytest.raises(LoginFailed):
                await registry.auth.identify(Basic(name, PASSWORD), OPERATOR)
        finally:
            registry.auth._passwords = registry.passwords
            passwords.close()

    house.do(work)


def test_a_narrower_grant(house: House) -> None:
    """Of pull and push only pull is left; with tag patterns only those tags."""
    name = house.add_user(("acme/*", "pull,push"))
    repository = OwnRepository(house, bearer(house.log_in(name, "repository:acme/narrow:pull,push")), "acme/narrow")
    content = repository.push_image("v1")
    house.grant(name, "acme/*", "pull,push", "ci-*")
    assert repository.put("v2", content).status == 403
    assert repository.put("ci-1", content).status == 201
    house.grant(name, "acme/*", "pull,create")
    assert repository.put("v3", content).status == 201
    assert repository.put("ci-1", repository.push_image()).status == 403
    house.grant(name, "acme/*", "pull")
    assert repository.put("v4", content).status == 403
    assert repository.call("GET", "manifests/v1").status == 200


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_group(house: House, is_removed: bool) -> None:
    """Who leaves it, or loses it, has what is left of his own."""
    group = fresh_user()
    name = house.add_user(("own/*", "pull"))
    house.do(lambda registry: registry.identities.add_group(group, [name], OPERATOR))
    house.grant(group, "acme/*", "pull")
    token = bearer(house.log_in(name, "repository:acme/app:pull", "repository:own/app:pull"))
    assert house.call("GET", "/v2/acme/app/manifests/x", token).code == "MANIFEST_UNKNOWN"
    if is_removed:
        remove(house, group, Kind.GROUP)
    else:
        house.do(lambda registry: registry.identities.leave(group, name, OPERATOR))
    assert house.call("GET", "/v2/acme/app/manifests/x", token).code == "NAME_UNKNOWN"
    assert house.call("GET", "/v2/own/app/manifests/x", token).code == "MANIFEST_UNKNOWN"
    house.call("GET", "/v2/acme/app/manifests/x", basic(name))


def test_a_group_without_its_right(house: House) -> None:
    """A grant that a group loses, its members lose."""
    group, name = fresh_user(), house.add_user()
    house.do(lambda registry: registry.identities.add_group(group, [name], OPERATOR))
    house.grant(group, "acme/*", "pull")
    token = bearer(house.log_in(name, "repository:acme/app:pull"))
    assert house.call("GET", "/v2/acme/app/manifests/x", token).code == "MANIFEST_UNKNOWN"
    revoke(house, group)
    assert house.call("GET", "/v2/acme/app/manifests/x", token).code == "NAME_UNKNOWN"


def add_robot(house: House, expires_at: int | None = None) -> tuple[str, str]:
    name = fresh_user()
    grant = Grant.parse("acme/*", "pull,push")
    return name, house.do(lambda registry: registry.identities.add_robot(name, [grant], expires_at, OPERATOR))


def test_a_robot_with_a_new_secret(house: House) -> None:
    """The old secret and its tokens end together."""
    name, secret = add_robot(house)
    token = house.log_in(name, "repository:acme/app:pull", password=secret)
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).status == 404
    new = house.do(lambda registry: registry.identities.rotate_robot(name, None, OPERATOR))
    for header in (bearer(token), basic(name, secret)):
        assert house.call("GET", "/v2/acme/app/manifests/x", header).status == 401
    assert house.call("GET", "/v2/acme/app/manifests/x", basic(name, new)).status == 404


def test_a_robot_that_expires(house: House) -> None:
    """Its tokens end with it, to the millisecond, though they were for longer."""
    name, secret = add_robot(house, house.clock.now + 10_000)
    token = house.log_in(name, "repository:acme/app:pull", password=secret)
    house.clock.now += 9_999
    for header in (bearer(token), basic(name, secret)):
        assert house.call("GET", "/v2/acme/app/manifests/x", header).status == 404
    house.clock.now += 1
    for header in (bearer(token), basic(name, secret)):
        assert house.call("GET", "/v2/acme/app/manifests/x", header).status == 401


def test_a_robot_that_is_removed(house: House) -> None:
    """And one of its name comes after it."""
    name, secret = add_robot(house)
    token = house.log_in(name, "repository:acme/app:pull", password=secret)
    remove(house, name, Kind.ROBOT)
    for header in (bearer(token), basic(name, secret)):
        assert house.call("GET", "/v2/acme/app/manifests/x", header).status == 401
    grant = Grant.parse("acme/*", "pull")
    house.do(lambda registry: registry.identities.add_robot(name, [grant], None, OPERATOR))
    for header in (bearer(token), basic(name, secret)):
        assert house.call("GET", "/v2/acme/app/manifests/x", header).status == 401


def add_trust(house: House, name: str, issuer: str = ISSUER) -> None:
    rule = TrustRule.make(issuer, "entrepot", {"sub": "repo:acme/app"}, json.dumps({"keys": [KEY.jwk]}))
    grant = Grant.parse("acme/*", "pull,push")
    house.do(lambda registry: registry.identities.add_trust(name, rule, [grant], OPERATOR))


def test_a_trust_that_is_removed(house: House) -> None:
    """Tokens that it gave end with it, also when the same rule is made again."""
    name = fresh_user()
    add_trust(house, name)
    id_token = mint(house.clock, KEY)
    token = house.exchange(id_token, scope="repository:acme/app:pull,push").json["token"]
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).status == 404
    remove(house, name, Kind.TRUST)
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).status == 401
    assert house.exchange(id_token).status == 401
    add_trust(house, name)
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).status == 401
    assert house.exchange(id_token).status == 200
    remove(house, name, Kind.TRUST)


def test_one_of_two_trusts(house: House) -> None:
    """A token of two rules goes on with the rights of the one that is left."""
    one, two = fresh_user(), fresh_user()
    add_trust(house, one)
    add_trust(house, two)
    house.grant(two, "lib/*", "pull")
    token = house.exchange(mint(house.clock, KEY), scope="repository:acme/app:pull repository:lib/app:pull").json[
        "token"
    ]
    assert len(claims_of(token)["ids"]) == 2
    remove(house, two, Kind.TRUST)
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).code == "MANIFEST_UNKNOWN"
    assert house.call("GET", "/v2/lib/app/manifests/x", bearer(token)).code == "NAME_UNKNOWN"
    remove(house, one, Kind.TRUST)
    assert house.call("GET", "/v2/acme/app/manifests/x", bearer(token)).status == 401


def delete(house: House, name: str) -> None:
    house.do(lambda registry: registry.repositories.delete(RepositoryName.parse(name), OPERATOR))


@pytest.mark.input(36)
def test_a_repository_that_is_made_again(house: House) -> None:
    """Harbor #22900: a token from before the deletion opens nothing of the new one, nor is it a source of mounts."""
    name = house.add_user(("acme/*", "pull,push"))
    source, target = OwnRepository(house, basic(ADMIN), f"acme/{fresh_user()}"), f"acme/{fresh_user()}"
    source.push_image("v1")
    old = house.log_in(name, f"repository:{source.name}:pull,push", f"repository:{target}:pull,push")
    assert house.call("GET", f"/v2/{source.name}/manifests/v1", bearer(old)).status == 200
    house.clock.now += 1
    delete(house, source.name)
    assert house.call("GET", f"/v2/{source.name}/manifests/v1", bearer(old)).status == 401
    house.clock.now += 1
    secret = source.push_blob()
    source.push_image("v1")
    assert house.call("GET", f"/v2/{source.name}/manifests/v1", bearer(old)).status == 401
    for query in (f"mount={digest_of(secret)}&from={source.name}", f"mount={digest_of(secret)}"):
        assert house.call("POST", f"/v2/{target}/blobs/uploads/?{query}", bearer(old)).status == 202
    new = house.log_in(name, f"repository:{source.name}:pull", f"repository:{target}:pull,push")
    assert house.call("GET", f"/v2/{source.name}/manifests/v1", bearer(new)).status == 200
    url = f"/v2/{target}/blobs/uploads/?mount={digest_of(secret)}&from={source.name}"
    assert house.call("POST", url, bearer(new)).status == 201


def test_a_token_of_the_instant_of_the_deletion(house: House) -> None:
    """In the same millisecond nobody knows which came first: refused."""
    repository = OwnRepository(house, basic(ADMIN), f"acme/{fresh_user()}")
    repository.push_image("v1")
    before = house.log_in(ADMIN, f"repository:{repository.name}:pull")
    delete(house, repository.name)
    after = house.log_in(ADMIN, f"repository:{repository.name}:pull")
    repository.push_image("v1")
    assert [house.call("GET", f"/v2/{repository.name}/tags/list", bearer(one)).status for one in (before, after)] == [
        401
    ] * 2
    house.clock.now += 1
    later = house.log_in(ADMIN, f"repository:{repository.name}:pull")
    assert house.call("GET", f"/v2/{repository.name}/tags/list", bearer(later)).status == 200


def test_a_repository_that_becomes_private(house: House) -> None:
    """An anonymous token of before, and no token, are both 401; a user who had only everybody's right sees nothing."""
    space = fresh_user()
    repository = OwnRepository(house, basic(ADMIN), f"{space}/app")
    content = repository.push_image("v1")
    house.grant("anonymous", f"{space}/*", "pull")
    name = house.add_user()
    reply = house.ask(f"repository:{repository.name}:pull")
    assert access_of(reply) == {f"repository:{repository.name}": ["pull"]}
    path, token = f"/v2/{repository.name}/manifests/v1", bearer(reply.json["token"])
    users = bearer(house.log_in(name, f"repository:{repository.name}:pull"))
    for headers in ((), (token,), (users,), (basic(name),)):
        assert house.call("GET", path, *headers).body == content
    revoke(house, "anonymous", f"{space}/*")
    assert [house.call("GET", path, *headers).status for headers in ((), (token,), (users,), (basic(name),))] == [
        401, 401, 404, 404,
    ]  # fmt: skip
    assert access_of(house.ask(f"repository:{repository.name}:pull")) == {}


def test_the_sessions_of_a_user_who_is_removed(house: House) -> None:
    """They end with their bytes; a namesake continues none, not even one whose address it knows."""
    name = house.add_user(("acme/*", "pull,push"))
    mine = OwnRepository(house, basic(name), f"acme/{fresh_user()}")
    location, before = mine.start(), house.uploads_left()
    assert house.call("PATCH", location, basic(name), body=b"abc").status == 202
    assert len(house.uploads_left()) == len(before) + 1
    replace(house, name)
    assert house.uploads_left() == before
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        assert house.call(method, location, basic(name), body=b"d" if method == "PATCH" else b"").status == 404
    closing = f"{location}?digest={digest_of(b'abc')}"
    assert house.call("PUT", closing, basic(name)).status == 404


def test_the_sessions_of_a_trust_that_is_removed(house: House) -> None:
    """Another rule of the same name, for another issuer, continues nothing of it."""
    name = fresh_user()
    add_trust(house, name)
    location = OwnRepository(house, basic("oidc", mint(house.clock, KEY)), "acme/sessions").start()
    remove(house, name, Kind.TRUST)
    add_trust(house, name, "https://other.example")
    other = basic("oidc", mint(house.clock, KEY, iss="https://other.example"))
    assert house.call("GET", "/v2/", other).status == 200
    assert house.call("PATCH", location, other, body=b"x").status == 404
    remove(house, name, Kind.TRUST)

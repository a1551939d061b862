"""Every kind of credentials, straight on /v2/ and at the token service; and where none are needed."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.access.grants import Grant
from registry.access.trusts import TrustRule
from tests.access.clock import SetClock
from tests.access.issuer import OMITTED, SigningKey, encoded, make_key, signed
from tests.access.login import (
    ADMIN,
    OPERATOR,
    PASSWORD,
    House,
    OwnRepository,
    access_of,
    basic,
    bearer,
    claims_of,
    fresh_user,
)
from tests.api.content import ABSENT, Repository

ISSUER = "https://ci.example"
KEY = make_key("EdDSA")
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
JWT = "urn:ietf:params:oauth:token-type:jwt"


def mint(clock: SetClock, key: SigningKey = KEY, **claims: Any) -> str:
    """An id token of ISSUER, as its CI gives to a job of acme/app."""
    now = clock() // 1000
    usual = {"iss": ISSUER, "aud": "entrepot", "sub": "repo:acme/app", "iat": now, "exp": now + 300}
    kept = {name: value for name, value in (usual | claims).items() if value is not OMITTED}
    return signed(key, {"alg": key.algorithm, "kid": key.kid}, json.dumps(kept).encode())


@pytest.fixture(scope="module")
def trusting(_kept: House) -> House:
    """Trusts jobs of acme/app to push in acme."""
    keys = json.dumps({"keys": [KEY.jwk]})
    rule = TrustRule.make(ISSUER, "entrepot", {"sub": "repo:acme/app"}, keys)
    _kept.do(
        lambda registry: registry.identities.add_trust(
            "ci", rule, [Grant.parse("acme/*", "pull,push", "ci-*")], OPERATOR
        )
    )
    return _kept


@pytest.fixture
def ci(trusting: House, house: House) -> House:
    assert trusting is house
    return house


def test_exchange(ci: House) -> None:
    """An id token becomes a registry token with what was asked for and is allowed, and the answer says what that is."""
    reply = ci.exchange(mint(ci.clock), scope="repository:acme/app:pull,push,delete repository:other/app:pull")
    answer = reply.json
    assert (answer["token_type"], answer["issued_token_type"]) == ("Bearer", ACCESS_TOKEN)
    assert answer["scope"] == "repository:acme/app:pull,push"
    assert answer["access_token"] == answer["token"]
    assert "refresh_token" not in answer
    assert answer["expires_in"] >= 60
    assert reply["Cache-Control"] == "no-store"
    assert access_of(reply) == {"repository:acme/app": ["pull", "push"]}
    repository = OwnRepository(ci, bearer(answer["token"]), "acme/app")
    assert repository.put("ci-1", repository.push_image()).status == 201
    assert repository.put("v1", repository.push_image()).status == 403
    assert repository.call("DELETE", "manifests/ci-1").status in {401, 403}
    assert ci.call("GET", "/v2/other/app/tags/list", bearer(answer["token"])).status in {401, 404}


@pytest.mark.parametrize(
    "changed",
    [
        {"service": "{service}"},
        {"audience": "{service}"},
        {"requested_token_type": ACCESS_TOKEN},
        {"subject_token_type": JWT},
        {"resource": "https://registry.example"},
        {"client_id": "x"},
    ],
    ids=str,
)
def test_exchange_in_other_words(ci: House, changed: dict[str, str]) -> None:
    """What the request may say besides."""
    filled = {name: value.format(service=ci.service) for name, value in changed.items()}
    assert ci.exchange(mint(ci.clock), **filled).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"subject_token_type": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": ACCESS_TOKEN},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"subject_token": ""},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"audience": "other"},
        {"service": "other"},
        {"actor_token": "x", "actor_token_type": JWT},
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"},
    ],
    ids=str,
)
def test_exchange_of_something_else(ci: House, changed: dict[str, str]) -> None:
    """400, before anything is verified."""
    reply = ci.exchange(mint(ci.clock), **changed)
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")
    assert "token" not in reply.json


DISBELIEVED: list[tuple[str, dict[str, Any]]] = [
    ("another subject", {"sub": "repo:acme/app2"}),
    ("a subject that begins like it", {"sub": "repo:acme/app:ref:refs/heads/main"}),
    ("another issuer", {"iss": "https://evil.example"}),
    ("an issuer that begins like it", {"iss": f"{ISSUER}.evil.example"}),
    ("a slash behind the issuer", {"iss": f"{ISSUER}/"}),
    ("another audience", {"aud": "entrepot2"}),
    ("two audiences", {"aud": ["entrepot", "other"]}),
    ("no audience", {"aud": OMITTED}),
    ("an expired one", {"exp": 1_600_000_000}),
    ("one without an end", {"exp": OMITTED}),
    ("one of tomorrow", {"nbf": 4_000_000_000}),
    ("no subject", {"sub": OMITTED}),
    ("a subject that is a list", {"sub": ["repo:acme/app"]}),
]


@pytest.mark.parametrize(("title", "claims"), DISBELIEVED, ids=[row[0] for row in DISBELIEVED])
def test_id_tokens_that_are_not_believed(ci: House, title: str, claims: dict[str, Any]) -> None:
    """401 at every door, with the same answer: why stands in the audit log alone."""
    token = mint(ci.clock, **claims)
    replies = [
        ci.exchange(token),
        ci.ask(headers=(basic("oidc", token),)),
        ci.post(grant_type="password", username="oidc", password=token, service=ci.service),
        ci.call("GET", "/v2/", basic("oidc", token)),
    ]
    assert {(reply.status, reply.errors[0]["message"]) for reply in replies} == {
        (401, "the id token is not trusted here: the registry's audit log says why")
    }, title


def test_another_key(ci: House) -> None:
    """The same claims under the key of somebody else, of the same name."""
    assert ci.exchange(mint(ci.clock, make_key("EdDSA"))).status == 401
    assert ci.exchange(mint(ci.clock, make_key("ES256"))).status == 401
    header, payload, _ = mint(ci.clock).split(".")
    assert ci.exchange(f"{header}.{payload}.").status == 401
    none = encoded(b'{"alg":"none"}')
    assert ci.exchange(f"{none}.{payload}.").status == 401


def test_an_id_token_as_a_password(ci: House) -> None:
    """`docker login -u oidc`: by GET and POST, and as Basic on every request."""
    token = mint(ci.clock)
    scope = "repository:acme/app:pull,push"
    opened = {"repository:acme/app": ["pull", "push"]}
    assert access_of(ci.ask(scope, headers=(basic("oidc", token),))) == opened
    form = {"grant_type": "password", "username": "oidc", "password": token, "service": ci.service, "scope": scope}
    assert access_of(ci.post(**form)) == opened
    repository = OwnRepository(ci, basic("oidc", token), "acme/direct")
    assert repository.put("ci-1", repository.push_image()).status == 201
    assert ci.call("GET", "/v2/", basic("oidc", token)).status == 200
    assert ci.call("GET", "/v2/_catalog", basic("oidc", token)).status == 200


def test_tokens_in_each_others_place(ci: House) -> None:
    """Each kind of secret opens only the door that it is for (reliability, row 156)."""
    id_token, token = mint(ci.clock), ci.log_in(ADMIN, "repository:acme/app:pull")
    robot = fresh_user()
    secret = ci.do(
        lambda registry: registry.identities.add_robot(robot, [Grant.parse("acme/*", "pull")], None, OPERATOR)
    )
    for wrong in (id_token, secret, PASSWORD, basic(ADMIN)[1].removeprefix("Basic ")):
        assert ci.call("GET", "/v2/", bearer(wrong)).status == 401
    for name, wrong in ((ADMIN, token), (ADMIN, id_token), ("oidc", token), ("oidc", secret), ("ci", id_token)):
        assert ci.call("GET", "/v2/", basic(name, wrong)).status == 401
        assert ci.ask(headers=(basic(name, wrong),)).status == 401
    assert ci.exchange(token).status == 401
    assert ci.exchange(secret).status == 401
    assert ci.call("GET", "/v2/", basic(robot, secret)).status == 200


def test_same_rights_by_basic_and_by_token(ci: House) -> None:
    """What a token opens that asks for everything, Basic opens, too, and the other way round."""
    name = ci.add_user(("acme/*", "pull,push"), ("lib/*", "pull"), ("ci/*", "create", "ci-*"))
    for repository in ("acme/app", "lib/app", "ci/app", "other/app"):
        token = ci.log_in(name, f"repository:{repository}:*")
        calls = [
            ("GET", "tags/list"), ("GET", "manifests/v1"), ("HEAD", f"blobs/{ABSENT}"), ("GET", f"referrers/{ABSENT}"),
            ("GET", "blobs/uploads/x"),
        ]  # fmt: skip
        for method, path in calls:
            url = f"/v2/{repository}/{path}"
            direct, by_token = (ci.call(method, url, header) for header in (basic(name), bearer(token)))
            assert (direct.status, direct.body) == (by_token.status, by_token.body), url


def test_protected_mode_ends_with_the_first_user(tmp_path: Path) -> None:
    """At once, in a server that runs; and what strangers had begun is no longer theirs."""
    house = House(tmp_path, trusted_proxies="")
    try:
        repository = Repository(house, "open/app")
        content = repository.push_image("v1")
        location = repository.start()
        assert house.call("GET", "/v2/").status == 200
        token = bearer(house.ask("repository:open/app:pull,push").json["token"])
        assert house.call("GET", "/v2/open/app/tags/list", token).status == 200
        house.add_user(name=ADMIN, is_admin=True)
        for method, path in (("GET", "/v2/"), ("GET", "/v2/open/app/manifests/v1"), ("GET", "/v2/_catalog")):
            assert house.call(method, path).status == 401
        assert house.call("PATCH", location, body=b"x").status == 401
        assert house.call("GET", "/v2/open/app/manifests/v1", token).status == 401
        assert house.call("PATCH", location, token, body=b"x").status == 401
        assert house.call("GET", "/v2/open/app/manifests/v1", basic(ADMIN)).body == content
        assert house.call("GET", "/v2/", ("Host", "registry.example")).status == 401  # and no longer 403
    finally:
        house.stop()


@pytest.fixture
def public(house: House) -> OwnRepository:
    """A repository that everybody may pull from, with an image `v1`."""
    repository = OwnRepository(house, basic(ADMIN), f"public/{fresh_user()}")
    repository.push_image("v1")
    house.grant("anonymous", "public/*", "pull")
    return repository


ANONYMOUS = [(), (("Authorization", "Bearer QQ=="),), (("Authorization", "bearer  QQ=="),)]


@pytest.mark.parametrize("headers", ANONYMOUS, ids=str)
def test_anonymous_pull(house: House, public: OwnRepository, headers: tuple[tuple[str, str], ...]) -> None:
    """With a grant for anonymous everybody pulls; the bare root still asks, or docker could not log in."""
    assert house.call("GET", f"/v2/{public.name}/manifests/v1", *headers).status == 200
    assert house.call("GET", f"/v2/{public.name}/tags/list", *headers).status == 200
    assert house.call("GET", "/v2/", *headers).status == 401
    assert house.call("PUT", f"/v2/{public.name}/manifests/v1", *headers).status == 401
    assert house.call("GET", "/v2/_catalog", *headers).json["repositories"] != []


def test_an_anonymous_token_pulls(house: House, public: OwnRepository) -> None:
    """As docker does it: a token without a login, for the root, too."""
    reply = house.ask(f"repository:{public.name}:pull,push")
    assert access_of(reply) == {f"repository:{public.name}": ["pull"]}
    assert claims_of(reply.json["token"])["ids"] == []
    token = bearer(reply.json["token"])
    assert house.call("GET", f"/v2/{public.name}/manifests/v1", token).status == 200
    assert house.call("GET", "/v2/", token).status == 200
    assert house.call("POST", f"/v2/{public.name}/blobs/uploads/", token).status == 401


BAD = [
    ("Bearer", "x"), ("Bearer", "a.b.c"), ("Bearer", "QQ"), ("Bearer", "QQ==="), ("Bearer", "qq=="), ("Bearer", ""),
    ("Bearer", "null"), ("Bearer", "undefined"), ("Bearer", "x" * 60_000), ("Bearer", "QQ== QQ=="),
    ("Bearer", "eyJhbGciOiJub25lIn0.e30."), ("Basic", "dTpw"), ("Basic", ""), ("Digest", "x"), ("Negotiate", "x"),
    ("", ""), ("Token", "x"), ("Bearer,", "QQ=="), ("AWS4-HMAC-SHA256", "Credential=x"),
]  # fmt: skip


@pytest.mark.parametrize(("scheme", "text"), BAD, ids=lambda text: text[:20])
def test_bad_credentials_on_a_public_repository(house: House, public: OwnRepository, scheme: str, text: str) -> None:
    """401, never quietly anonymous: who sends credentials believes to be somebody (reliability, row 159)."""
    header = ("Authorization", f"{scheme} {text}".strip())
    for path in (f"/v2/{public.name}/manifests/v1", f"/v2/{public.name}/tags/list", "/v2/", "/v2/_catalog"):
        reply = house.call("GET", path, header)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED"), path
    assert house.ask(headers=(header,)).status == 401

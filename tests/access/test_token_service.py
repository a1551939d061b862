"""`GET` and `POST /token` as a table of requests and replies (docker's token specification, OAuth 2, RFC 6749)."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from structlog.testing import capture_logs

from tests.access.login import ADMIN, FORM, PASSWORD, House, access_of, basic, bearer, claims_of
from tests.api.wire import Call, Connection, Reply, head
from tests.waiting import wait_until

PULL, BOTH, EVERYTHING = ["pull"], ["pull", "push"], ["pull", "push", "delete"]


@pytest.fixture(scope="module")
def alice(_kept: House) -> str:
    """May pull and push in acme, pull in lib, and delete in trash."""
    return _kept.add_user(("acme/*", "pull,push"), ("lib/*", "pull"), ("trash/*", "delete"), ("ci/*", "create", "ci-*"))


# What is asked for, and what the token of alice opens: asked and allowed.
SCOPES: list[tuple[list[str], dict[str, list[str]]]] = [
    ([], {}),
    ([""], {}),
    (["repository:acme/app:pull"], {"repository:acme/app": PULL}),
    (["repository:acme/app:pull,push"], {"repository:acme/app": BOTH}),
    (["repository:acme/app:push,pull,pull"], {"repository:acme/app": BOTH}),
    (["repository:acme/app:pull,push,delete"], {"repository:acme/app": BOTH}),
    (["repository:lib/app:pull,push"], {"repository:lib/app": PULL}),
    (["repository:trash/app:pull,delete"], {"repository:trash/app": ["delete"]}),
    (["repository:ci/app:push"], {"repository:ci/app": ["push"]}),
    (["repository:other/app:pull"], {}),
    (
        ["repository:acme/app:pull", "repository:lib/app:pull"],
        {"repository:acme/app": PULL, "repository:lib/app": PULL},
    ),
    (["repository:acme/app:pull repository:lib/app:pull"], {"repository:acme/app": PULL, "repository:lib/app": PULL}),
    (["repository:acme/app:pull repository:acme/app:pull,push"], {"repository:acme/app": BOTH}),
    (["repository:acme/app:pull", "repository:acme/app:push"], {"repository:acme/app": BOTH}),
    (["  repository:acme/app:pull   repository:x:pull "], {"repository:acme/app": PULL}),
    (["repository:acme/app:pull\trepository:lib/app:pull"], {}),
    (["repository(plugin):acme/app:pull"], {"repository:acme/app": PULL}),
    (["repository(plugin):other/app:pull"], {}),
    (["repository():acme/app:pull"], {}),
    (["repository(a)(b):acme/app:pull"], {}),
    (["repository:acme/app:*"], {"repository:acme/app": BOTH}),
    (["repository:lib/app:*"], {"repository:lib/app": PULL}),
    (["repository:other/app:*"], {}),
    (["repository:*:pull"], {}),
    (["repository:*:*"], {}),
    (["repository:**:pull"], {}),
    (["repository:acme/*:pull"], {}),
    (["repository:acme:pull"], {}),
    (["repository:acme/app/deep:pull"], {}),
    (["registry:catalog:*"], {"registry:catalog": ["*"]}),
    (["registry:catalog:* repository:acme/app:pull"], {"registry:catalog": ["*"], "repository:acme/app": PULL}),
    (["registry:catalog:pull"], {}),
    (["registry:*:*"], {}),
    (["registry:catalog:*,pull"], {}),
    (["registry"], {}),
    (["repository"], {}),
    (["repository:"], {}),
    (["repository:acme/app"], {}),
    (["repository:acme/app:"], {}),
    (["repository::pull"], {}),
    ([":::"], {}),
    (["::"], {}),
    (["repository:acme/app:PULL"], {}),
    (["repository:acme/app:Pull,push"], {"repository:acme/app": ["push"]}),
    (["repository:acme/app:pull;push"], {}),
    (["repository:acme/app:admin"], {}),
    (["repository:acme/app:create"], {}),
    (["repository:acme/app:pull,push,delete,admin,PULL,pull "], {"repository:acme/app": BOTH}),
    (["Repository:acme/app:pull"], {}),
    (["repository:ACME/app:pull"], {}),
    (["repository:acme/../other/app:pull"], {}),
    (["repository:acme/app%2F..:pull"], {}),
    (["repository:host:5000/acme/app:pull"], {}),
    (["repository:acme/app:pull:push"], {}),
    (["repository:acme/app\x00:pull"], {}),
    (["repository:acme/app\n:pull"], {}),
    (["repository:acme/аpp:pull"], {}),  # noqa: RUF001  # a Cyrillic letter
    (["x" * 15_000], {}),
    ([f"repository:{'a/' * 3_500}a:pull"], {}),
    ([f"repository:acme/app:{'pull,' * 2_000}"], {"repository:acme/app": PULL}),
]


@pytest.mark.parametrize(("scopes", "access"), SCOPES, ids=lambda value: repr(value)[:60])
def test_scopes(house: House, alice: str, scopes: list[str], access: dict[str, list[str]]) -> None:
    """Granted is what is asked and allowed, by GET and by POST; what is none gives nothing, and is no error."""
    assert access_of(house.ask(*scopes, headers=(basic(alice),))) == access
    form = [("grant_type", "password"), ("username", alice), ("password", PASSWORD), ("service", house.service)]
    body = urlencode([*form, *(("scope", scope) for scope in scopes)]).encode()
    if len(body) <= 64 << 10:
        assert access_of(house.call("POST", "/token", FORM, body=body)) == access


def test_a_hundred_scopes(house: House) -> None:
    """So many are looked at; the rest gives nothing."""
    scopes = [f"repository:acme/app-{number}:pull" for number in range(200)]
    access = access_of(house.ask(*scopes, headers=(basic(ADMIN),)))
    assert sorted(access) == sorted(f"repository:acme/app-{number}" for number in range(100))


def test_scopes_that_do_not_fit(house: House) -> None:
    """A token that would be too long for a header is refused, and says so."""
    scopes = [f"repository:{'a' * 240}/{number}:pull" for number in range(100)]
    form = [("grant_type", "password"), ("username", ADMIN), ("password", PASSWORD), ("service", house.service)]
    body = urlencode([*form, *(("scope", scope) for scope in scopes)]).encode()
    reply = house.call("POST", "/token", FORM, body=body)
    assert (reply.status, reply.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "scope=repository:acme/app:pull",
        "service=",
        "service=other",
        "service={service}x",
        "service={service}&service={service}",
        "service={service}&service=other",
        "service=other&service={service}",
        "service%00={service}",
        "SERVICE={service}",
        "service={service}%00",
        "service=%20{service}",
        "service={service};scope=repository:acme/app:pull",
        "&".join(["a=1"] * 2_000) + "&service={service}",
        "service=%ff",
        "service[]={service}",
    ],
    ids=lambda query: query[:50],
)
def test_another_service(house: House, alice: str, query: str) -> None:
    """A token is for one audience, named once and exactly: else 400, also by POST."""
    filled = query.format(service=house.service)
    replies = [
        house.call("GET", f"/token?{filled}", basic(alice)),
        house.call("GET", f"/token?{filled}"),
        house.call(
            "POST",
            "/token",
            FORM,
            body=f"grant_type=password&username={alice}&password={quote(PASSWORD)}&{filled}".encode(),
        ),
    ]
    assert [(reply.status, reply.code) for reply in replies] == [(400, "UNSUPPORTED")] * 3
    assert b"token" not in replies[0].body.replace(b"a token is for one service", b"")


def assert_token(house: House, reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply
    assert reply["Cache-Control"] == "no-store"
    assert reply["Content-Type"] == "application/json"
    assert reply.json["token"] == reply.json["access_token"]
    assert reply.json["expires_in"] >= 60
    assert reply.json["issued_at"].endswith("Z")
    issued_at = datetime.fromisoformat(reply.json["issued_at"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reply.json["issued_at"])
    assert abs(issued_at.timestamp() - house.clock() / 1000) <= 1
    claims = claims_of(reply.json["token"])
    assert (claims["iss"], claims["aud"]) == (house.service, house.service)
    assert claims["exp"] - claims["iat"] <= reply.json["expires_in"] + 1
    answer: dict[str, Any] = reply.json
    return answer


IGNORED = [
    {"offline_token": "true"},
    {"account": ADMIN},
    {"client_id": "docker"},
    {"client_id": "\x00\U0001f433"},
    {"access_type": "offline"},
    {"nonce": "1"},
    {"sub": ADMIN},
    {"ids": "[[1,0]]"},
    {"expires_in": "99999999"},
]


@pytest.mark.parametrize("parameters", [{}, *IGNORED], ids=repr)
def test_an_answer(house: House, alice: str, parameters: dict[str, str]) -> None:
    """All members that clients read, no refresh token even when one is asked for; what else is sent is ignored."""
    scope = "repository:acme/app:pull"
    form = {"grant_type": "password", "username": alice, "password": PASSWORD, "service": house.service, "scope": scope}
    for reply in (house.ask(scope, headers=(basic(alice),), **parameters), house.post(**form | parameters)):
        answer = assert_token(house, reply)
        assert answer.keys() == {"token", "access_token", "expires_in", "issued_at"}
        assert claims_of(answer["token"])["sub"] == alice
        assert access_of(reply) == {"repository:acme/app": PULL}
        assert house.call("GET", "/v2/acme/app/tags/list", bearer(answer["token"])).code == "NAME_UNKNOWN"


def test_an_anonymous_token(house: House) -> None:
    """Without credentials it opens what anybody may, here nothing; and tells a client that it is no login."""
    reply = house.ask("repository:acme/app:pull,push", "registry:catalog:*")
    assert assert_token(house, reply)["token"]
    assert access_of(reply) == {}
    assert house.call("GET", "/v2/acme/app/tags/list", bearer(reply.json["token"])).status == 401


BAD_BASIC = [
    ("no colon", "YWxpY2U="),
    ("no name", "OnBhc3N3b3Jk"),
    ("no password", "YWxpY2U6"),
    ("nothing", ""),
    ("a colon", "Og=="),
    ("NUL in the name", "YWwAaWNlOnBhc3N3b3Jk"),
    ("NUL in the password", "YWxpY2U6cGFzcwB3b3Jk"),
    ("no base64", "%%%"),
    ("base64 of another alphabet", "YWxpY2U6_-_-"),
    ("half of base64", "YWxpY2U6cGFzc3dvcmQ"),
    ("base64 in the middle", "YWxpY2U6 cGFzc3dvcmQ="),
    ("Latin-1", "YWxpY2U6cOTfd/ZyZA=="),
    ("surrogates", "YWxpY2U67aCA"),
    ("a token as docker names one", "PHRva2VuPjpwYXNzd29yZA=="),
    ("48 KB", "YWFh" * 12_000),
    ("64 KB", "YWFh" * 16_000),
]


@pytest.mark.parametrize(("title", "text"), BAD_BASIC, ids=[title for title, _ in BAD_BASIC])
@pytest.mark.parametrize("path", ["/v2/", "/token"])
def test_basic_that_is_none(house: House, title: str, text: str, path: str) -> None:
    """401 with a challenge, quickly: what is too long is never hashed."""
    target = f"/token?service={house.service}" if path == "/token" else path
    reply = house.call("GET", target, ("Authorization", f"Basic {text}"))
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED"), title
    assert len(reply.lines("WWW-Authenticate")) == 1


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic  "])
def test_basic_in_other_letters(house: House, alice: str, scheme: str) -> None:
    """The scheme is not case-sensitive (RFC 9110)."""
    text = basic(alice)[1].removeprefix("Basic ")
    assert house.call("GET", "/v2/", ("Authorization", f"{scheme} {text}")).status == 200


def test_two_authorizations(house: House, alice: str) -> None:
    """Two readers could choose two: 400, whatever the second is."""
    assert house.call("GET", "/v2/", basic(alice), basic(alice)).status == 400
    assert house.ask(headers=(basic(alice), bearer("x"))).status == 400


WRONG = [
    ("a wrong password", {"password": "wrong password"}, 401, "invalid_grant"),
    ("a longer password", {"password": PASSWORD + "x"}, 401, "invalid_grant"),
    ("an unknown user", {"username": "nobody"}, 401, "invalid_grant"),
    ("anonymous", {"username": "anonymous"}, 401, "invalid_grant"),
    ("a name in other letters", {"username": "{alice_upper}"}, 401, "invalid_grant"),
    ("NUL in the name", {"username": "{alice}\x00"}, 401, "invalid_grant"),
    ("NUL in the password", {"password": PASSWORD + "\x00"}, 401, "invalid_grant"),
    ("a long password", {"password": "x" * 20_000}, 401, "invalid_grant"),
    ("an id token that is none", {"username": "oidc", "password": "a.b.c"}, 401, "invalid_grant"),
    ("a refresh token", {"grant_type": "refresh_token", "refresh_token": "x"}, 401, "invalid_grant"),
    ("client credentials", {"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
    ("no grant type", {"grant_type": ""}, 400, "invalid_request"),
    ("no name", {"username": ""}, 400, "invalid_request"),
    ("no password", {"password": ""}, 400, "invalid_request"),
    ("no service", {"service": ""}, 400, "invalid_request"),
    ("another service", {"service": "other"}, 400, "invalid_request"),
]


@pytest.mark.parametrize(("title", "changed", "status", "error"), WRONG, ids=[row[0] for row in WRONG])
def test_a_form_that_is_refused(
    house: House, alice: str, title: str, changed: dict[str, str], status: int, error: str
) -> None:
    """The registry's errors and OAuth's stand side by side, and nothing of them is stored by anybody."""
    form = {"grant_type": "password", "username": alice, "password": PASSWORD, "service": house.service}
    filled = {name: value.format(alice=alice, alice_upper=alice.upper()) for name, value in changed.items()}
    reply = house.post(**form | filled)
    assert (reply.status, reply.code) == (status, "UNAUTHORIZED" if status == 401 else "UNSUPPORTED"), title
    assert reply.json["error"] == error
    assert reply.json["error_description"] == reply.errors[0]["message"]
    assert reply["Cache-Control"] == "no-store"
    assert status != 401 or reply["WWW-Authenticate"] == 'Basic realm="Entrepot"'


BODIES = [
    ("JSON", "application/json", b'{"grant_type": "password"}', 415),
    ("multipart", "multipart/form-data; boundary=x", b"--x--", 415),
    ("text", "text/plain", b"grant_type=password", 415),
    ("no type", "", b"grant_type=password", 415),
    ("a type that begins like it", "application/x-www-form-urlencoded2", b"grant_type=password", 415),
    ("nothing", FORM[1], b"", 400),
    ("no form", FORM[1], b"\x00\x01&&&===", 400),
    ("no UTF-8", FORM[1], b"grant_type=\xff", 400),
    ("no UTF-8, encoded", FORM[1], b"grant_type=%ff", 400),
    ("a thousand parameters", FORM[1], b"a=1&" * 1_001, 400),
    ("two of one", FORM[1], b"grant_type=password&grant_type=password", 400),
    ("64 KiB and a byte", FORM[1], b"a=" + b"x" * (64 << 10), 413),
]


@pytest.mark.parametrize(("title", "media_type", "body", "status"), BODIES, ids=[row[0] for row in BODIES])
def test_a_body_that_is_refused(house: House, title: str, media_type: str, body: bytes, status: int) -> None:
    """Only forms, and only short ones."""
    reply = house.call("POST", "/token", ("Content-Type", media_type), body=body)
    assert (reply.status, reply.code) == (status, "UNSUPPORTED"), title
    assert reply.json["error"] == "invalid_request"


def test_the_form_with_a_charset(house: House, alice: str) -> None:
    """Parameters and capitals of the media type mean nothing."""
    form = {"grant_type": "password", "username": alice, "password": PASSWORD, "service": house.service}
    body = urlencode(form).encode()
    for media_type in (f"{FORM[1]}; charset=utf-8", FORM[1].upper()):
        assert house.call("POST", "/token", ("Content-Type", media_type), body=body).status == 200


def test_query_and_body(house: House, alice: str) -> None:
    """What is said twice could be read twice: a POST with a query is refused, whichever is right."""
    form = {"grant_type": "password", "username": alice, "password": PASSWORD, "service": house.service}
    reply = house.call("POST", f"/token?service={house.service}", FORM, body=urlencode(form).encode())
    assert (reply.status, reply.json["error"]) == (400, "invalid_request")


def test_a_declared_gigabyte(house: House) -> None:
    """Refused before it comes, and a client that waits for `100 Continue` is not told to send it."""
    call = Call("POST", "/token", [FORM, ("Content-Length", str(1 << 30)), ("Expect", "100-continue")])
    with house.connect() as connection:
        connection.write(head(call, house.port))
        reply = connection.read("POST")
    assert (reply.status, reply["Connection"]) == (413, "close")


def test_a_chunked_gigabyte(house: House) -> None:
    """Cut off after 64 KiB, without a place for the rest."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    call = Call("POST", "/token", [FORM, ("Transfer-Encoding", "chunked")])
    with Connection(house.port) as connection:
        connection.write(head(call, house.port))
        for _ in range(200):  # 12 MiB: more than is drained
            connection.write(chunk)
        reply = connection.read("POST")
    assert (reply.status, reply["Connection"]) == (413, "close")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods(house: House, method: str) -> None:
    """405, with the methods that there are."""
    reply = house.call(method, "/token")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert {"GET", "POST"} <= set(reply["Allow"].split(", "))


@pytest.mark.parametrize("path", ["/token/", "/Token", "//token", "/token/x", "/token%2f", "/v2/token", "/v2/../token"])
def test_other_spellings(house: House, alice: str, path: str) -> None:
    """There is one token endpoint."""
    assert house.call("GET", f"{path}?service={house.service}", basic(alice)).status in {400, 404}


def test_a_client_that_vanishes(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of its form: nothing breaks, and the registry goes on."""
    call = Call("POST", "/token", [FORM, ("Content-Length", "1000")])
    with capture_logs() as entries, house.connect() as connection:
        connection.write(head(call, house.port) + b"grant_type=pass")
        assert house.ask().status == 200
        connection.abort()
        wait_until(lambda: any(entry.get("method") == "POST" for entry in entries), "the log line")
    assert [entry["status"] for entry in entries if entry.get("method") == "POST"] == [499]
    assert {entry["log_level"] for entry in entries} <= {"info"}
    assert "Traceback" not in caplog.text


def test_a_token_for_a_token(house: House, alice: str) -> None:
    """A stolen token cannot be made to live longer."""
    token = house.log_in(alice, "repository:acme/app:pull")
    reply = house.ask("repository:acme/app:pull", headers=(bearer(token),))
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    anonymous = house.ask().json["token"]
    assert house.ask("repository:acme/app:pull", headers=(bearer(anonymous),)).status == 401
    for name in (alice, "<token>", "oauth2accesstoken", "AWS", "oidc"):
        assert house.ask(headers=(basic(name, token),)).status == 401


def test_the_published_keys(house: House, alice: str) -> None:
    """They are public keys only, and name the one that signed."""
    reply = house.call("GET", "/.well-known/jwks.json")
    assert reply.status == 200
    assert all("d" not in key for key in reply.json["keys"])
    assert all(key.keys() <= {"kid", "alg", "use", "kty", "crv", "x"} for key in reply.json["keys"])
    assert house.log_in(alice)

"""What a refused client is told to do: the one line of WWW-Authenticate (RFC 6750, docker's token specification)."""

import re
from collections.abc import Iterator

import pytest

from tests.access.login import ADMIN, PAUSE, House, basic, bearer, keeping
from tests.api.content import ABSENT
from tests.api.wire import Call, Connection, Reply, written

BASIC = 'Basic realm="Entrepot"'
CHALLENGE = re.compile(
    r'Bearer realm="[^"\s]+",service="[^"\s]+"(,scope="[^"\s]+( [^"\s]+)?")?'
    r'(,error="[a-z_]+",error_description="[ !#-\[\]-~]+")?'  # the characters of RFC 6750, section 3
)


@pytest.fixture(scope="module")
def _direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with keeping(tmp_path_factory.mktemp("direct"), trusted_proxies="") as house:
        yield house


@pytest.fixture
def direct(_direct: House) -> House:
    """No proxy is known, so none is believed."""
    _direct.clock.now += PAUSE
    return _direct


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Its public URL is set."""
    with keeping(tmp_path_factory.mktemp("public"), public_url="https://registry.example") as house:
        yield house


def send(house: House, *headers: tuple[str, str], path: str = "/v2/", method: str = "GET") -> Reply:
    """A call as a client without a proxy makes it."""
    with Connection(house.port) as connection:
        connection.write(written(Call(method, path, headers), house.port))
        return connection.read(method)


def members_of(reply: Reply) -> dict[str, str]:
    """As clients read a challenge, with a pattern: in one line, all quoted."""
    (line,) = reply.lines("WWW-Authenticate")
    assert CHALLENGE.fullmatch(line), line
    members = dict(re.findall(r'([a-z_]+)="(.*?)"', line))
    assert ("error" in members) == ("error_description" in members)
    members.pop("error_description", None)
    return members


def test_by_host(direct: House) -> None:
    """Without a setting the realm is where the client sent its request."""
    for host in (f"127.0.0.1:{direct.port}", "localhost:1", "localhost", "[::1]:5000", "registry.internal:5000"):
        reply = send(direct, ("Host", host))
        assert reply.status == 401
        assert members_of(reply) == {"realm": f"http://{host}/token", "service": direct.service}


def test_the_public_url(public: House) -> None:
    """Set, it is the realm, whatever Host, proxies and the version of HTTP say."""
    known = [(), (("Host", "evil.example"),), (("X-Forwarded-Proto", "http"),), (("X-Forwarded-Host", "evil.example"),)]
    for headers in [*known, (("Via", "1.0 x"),), (("Forwarded", "host=evil.example;proto=http"),)]:
        assert members_of(send(public, *headers))["realm"] == "https://registry.example/token"
    with public.connect() as connection:
        connection.write(b"GET /v2/ HTTP/1.0\r\nHost: evil.example\r\n\r\n")
        assert members_of(connection.read())["realm"] == "https://registry.example/token"


@pytest.mark.parametrize(
    ("proto", "realm"),
    [
        ("https", "https://registry.example/token"),
        ("http", "http://registry.example/token"),
        ("", ""),
        ("HTTPS", ""),
        ("https, http", ""),
        ('https://evil.example/"', ""),
        ("javascript", ""),
        ("ftp", ""),
    ],
)
def test_behind_a_known_proxy(house: House, proto: str, realm: str) -> None:
    """The proxy says how clients reached it; where it does not say so exactly, nobody is sent anywhere."""
    reply = send(
        house, ("Host", "registry.example"), ("X-Forwarded-Proto", proto), ("X-Forwarded-Host", "evil.example")
    )
    assert reply.status == 401
    if realm:
        assert members_of(reply)["realm"] == realm
    else:
        assert reply.lines("WWW-Authenticate") == [BASIC]


def test_a_known_proxy_that_says_nothing(house: House) -> None:
    """A client is asked to log in where it is: perhaps it came by TLS, and the realm would say http."""
    assert send(house).lines("WWW-Authenticate") == [BASIC]


PASSED_ON = [
    ("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"),
    ("Forwarded", "for=10.0.0.1"), ("Via", "1.1 x"), ("X-Real-IP", "10.0.0.1"), ("X-Forwarded-Port", "443"),
    ("X-Envoy-External-Address", "10.0.0.1"), ("CF-Connecting-IP", "10.0.0.1"), ("X-Original-URL", "/"),
    ("True-Client-IP", "10.0.0.1"), ("x-forwarded-scheme", "https"),
]  # fmt: skip


@pytest.mark.input(12)
@pytest.mark.parametrize(("name", "value"), PASSED_ON)
def test_behind_an_unknown_proxy(direct: House, name: str, value: str) -> None:
    """Basic and no realm: a password never goes to a URL that was guessed."""
    reply = send(direct, (name, value))
    assert (reply.status, reply.lines("WWW-Authenticate")) == (401, [BASIC])


def test_http_1_0(direct: House) -> None:
    """No client of a registry speaks it, but nginx does towards its upstream."""
    with direct.connect() as connection:
        connection.write(b"GET /v2/ HTTP/1.0\r\nHost: registry.example\r\n\r\n")
        reply = connection.read()
    assert (reply.status, reply.lines("WWW-Authenticate")) == (401, [BASIC])


HOSTILE = [
    'evil.example"', 'a",realm="http://evil.example/token', "a b", "a,b", "a;b", "user@evil.example",
    "user:password@evil.example", "a/b", "a\\b", "a\tb", "a?b", "a#b", "", "a:b", "a:", "a:999999", "[::1", "é.example",
    "%22", "a%0d%0ab", "http://a", "a'b", "<a>", "a" * 254, "a\x0bb", "a\x7fb",
]  # fmt: skip


@pytest.mark.input(11)
@pytest.mark.parametrize("host", HOSTILE, ids=repr)
def test_a_hostile_host(direct: House, host: str) -> None:
    """400, and nothing of it stands in any header of the answer."""
    for path in ("/v2/", "/v2/_catalog", "/v2/a/tags/list", f"/token?service={direct.service}"):
        reply = send(direct, ("Host", host), path=path)
        assert reply.status == 400, path
        assert "WWW-Authenticate" not in reply
        assert not host or not [value for _, value in reply.headers if host in value]


@pytest.mark.input(11)
def test_line_ends_in_a_host(direct: House) -> None:
    """They end the header, as everywhere in HTTP, and begin another one: the answer has one challenge and no more."""
    for end in (b"\r\n", b"\n", b"\r"):
        with direct.connect() as connection:
            connection.write(b"GET /v2/ HTTP/1.1\r\nHost: localhost" + end + b"Set-Cookie: evil\r\n\r\n")
            reply = connection.read()
        assert "Set-Cookie" not in reply
        assert reply.status == 400 or members_of(reply)["realm"] == "http://localhost/token"


SCOPES = [
    ("GET", "/v2/", ""),
    ("HEAD", "/v2/", ""),
    ("GET", "/v2/_catalog", "registry:catalog:*"),
    ("GET", "/v2/acme/app/tags/list", "repository:acme/app:pull"),
    ("GET", "/v2/acme/app/manifests/v1", "repository:acme/app:pull"),
    ("HEAD", f"/v2/acme/app/manifests/{ABSENT}", "repository:acme/app:pull"),
    ("GET", f"/v2/acme/app/blobs/{ABSENT}", "repository:acme/app:pull"),
    ("GET", f"/v2/acme/app/referrers/{ABSENT}", "repository:acme/app:pull"),
    ("PUT", "/v2/acme/app/manifests/v1", "repository:acme/app:pull,push"),
    ("POST", "/v2/acme/app/blobs/uploads/", "repository:acme/app:pull,push"),
    ("PATCH", "/v2/acme/app/blobs/uploads/x", "repository:acme/app:pull,push"),
    ("PUT", "/v2/acme/app/blobs/uploads/x", "repository:acme/app:pull,push"),
    ("GET", "/v2/acme/app/blobs/uploads/x", "repository:acme/app:pull,push"),
    ("DELETE", "/v2/acme/app/blobs/uploads/x", "repository:acme/app:pull,push"),
    ("DELETE", "/v2/acme/app/manifests/v1", "repository:acme/app:pull,delete"),
    ("DELETE", f"/v2/acme/app/blobs/{ABSENT}", "repository:acme/app:pull,delete"),
]


@pytest.mark.parametrize(("method", "path", "scope"), SCOPES)
def test_scopes(direct: House, method: str, path: str, scope: str) -> None:
    """The challenge says what to ask for: to strangers, and to holders of a token that is for something else."""
    expected = {"realm": f"http://127.0.0.1:{direct.port}/token", "service": direct.service}
    expected |= {"scope": scope} if scope else {}
    reply = send(direct, path=path, method=method)
    assert (reply.status, members_of(reply)) == (401, expected)
    bad = send(direct, bearer("a.b.c"), path=path, method=method)
    assert (bad.status, members_of(bad)) == (401, expected | {"error": "invalid_token"})
    narrow = send(direct, bearer(direct.log_in(ADMIN, "repository:other/app:pull")), path=path, method=method)
    if scope:
        assert (narrow.status, members_of(narrow)) == (401, expected | {"error": "insufficient_scope"})
    else:
        assert narrow.status == 200


MOUNTS = [
    ("from=acme/base", "repository:acme/app:pull,push repository:acme/base:pull"),
    ("from=acme%2Fbase", "repository:acme/app:pull,push repository:acme/base:pull"),
    ("from=A/B", "repository:acme/app:pull,push"),
    ('from=a"b', "repository:acme/app:pull,push"),
    ("", "repository:acme/app:pull,push"),
]


@pytest.mark.parametrize(("source", "scope"), MOUNTS)
def test_scopes_of_mounts(direct: House, source: str, scope: str) -> None:
    """A mount needs to pull from its source, too: a client that asks for what it is told gets both at once."""
    path = f"/v2/acme/app/blobs/uploads/?mount={ABSENT}&{source}".rstrip("&")
    assert members_of(send(direct, path=path, method="POST"))["scope"] == scope


def test_a_strangers_token_that_does_not_suffice(direct: House) -> None:
    """Another one would not, either: the client hears so, in words that docker does not take for its own default."""
    path = f"/token?service={direct.service}&scope=repository:acme/app:pull"
    reply = send(direct, bearer(send(direct, path=path).json["token"]), path="/v2/acme/app/tags/list")
    assert (reply.status, members_of(reply)["error"]) == (401, "insufficient_scope")
    message = reply.json["errors"][0]["message"]
    assert f'error_description="{message}"' in reply.lines("WWW-Authenticate")[0]
    assert message not in ("authentication required", "")


def test_an_expired_token(direct: House) -> None:
    """The client is told that it needs a new one."""
    token = direct.log_in(ADMIN, "repository:acme/app:pull")
    direct.clock.now += 301_000
    reply = send(direct, bearer(token), path="/v2/acme/app/tags/list")
    assert (reply.status, members_of(reply)["error"]) == (401, "invalid_token")


def test_a_wrong_password(direct: House) -> None:
    """A challenge without an error of tokens; the token service itself sends nobody to the token service."""
    reply = send(direct, basic(ADMIN, "wrong"))
    assert (reply.status, members_of(reply)) == (
        401,
        {"realm": f"http://127.0.0.1:{direct.port}/token", "service": direct.service},
    )
    reply = send(direct, basic(ADMIN, "wrong"), path=f"/token?service={direct.service}")
    assert (reply.status, reply.lines("WWW-Authenticate")) == (401, [BASIC])


def test_the_realm_answers(direct: House) -> None:
    """A client that follows the challenge gets its token there."""
    members = members_of(send(direct, path="/v2/acme/app/tags/list"))
    path = members["realm"].partition(str(direct.port))[2]
    reply = send(direct, basic(ADMIN), path=f"{path}?service={members['service']}&scope={members['scope']}")
    assert send(direct, bearer(reply.json["token"]), path="/v2/acme/app/tags/list").code == "NAME_UNKNOWN"

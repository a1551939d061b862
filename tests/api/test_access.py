"""What callers without credentials may do: in protected mode, and at every level of ENTREPOT_ANONYMOUS."""

import pytest

from tests.api.conftest import Serve
from tests.api.content import ABSENT, OCI_MANIFEST, Repository, digest_of, image
from tests.api.running import RunningServer
from tests.api.wire import Call, Connection, Reply, written

# Every row of the specification's table and of ours, and the least level that may do it; written down by hand.
RIGHTS = [
    ("GET", "/v2/", "pull"),
    ("HEAD", "/v2/", "pull"),
    ("GET", "/v2/_catalog", "pull"),
    ("HEAD", "/v2/_catalog", "pull"),
    ("GET", "/v2/{repository}/tags/list", "pull"),
    ("HEAD", "/v2/{repository}/tags/list", "pull"),
    ("GET", "/v2/{repository}/manifests/v1", "pull"),
    ("HEAD", "/v2/{repository}/manifests/v1", "pull"),
    ("GET", "/v2/{repository}/blobs/" + ABSENT, "pull"),
    ("HEAD", "/v2/{repository}/blobs/" + ABSENT, "pull"),
    ("GET", "/v2/{repository}/referrers/" + ABSENT, "pull"),
    ("HEAD", "/v2/{repository}/referrers/" + ABSENT, "pull"),
    ("POST", "/v2/{repository}/blobs/uploads/", "push"),
    ("POST", "/v2/{repository}/blobs/uploads/?mount=" + ABSENT, "push"),
    ("POST", "/v2/{repository}/blobs/uploads/?digest=" + ABSENT, "push"),
    ("GET", "/v2/{repository}/blobs/uploads/session", "push"),
    ("HEAD", "/v2/{repository}/blobs/uploads/session", "push"),
    ("PATCH", "/v2/{repository}/blobs/uploads/session", "push"),
    ("PUT", "/v2/{repository}/blobs/uploads/session?digest=" + ABSENT, "push"),
    ("DELETE", "/v2/{repository}/blobs/uploads/session", "push"),
    ("PUT", "/v2/{repository}/manifests/v2", "push"),
    ("DELETE", "/v2/{repository}/manifests/v3", "protected"),
    ("DELETE", "/v2/{repository}/manifests/" + ABSENT, "protected"),
    ("DELETE", "/v2/{repository}/blobs/" + ABSENT, "protected"),
]
LEVELS = ["none", "pull", "push", "protected"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("method", "path", "least"), RIGHTS)
def test_levels(serve: Serve, level: str, method: str, path: str, least: str) -> None:
    """A level may do what is its own and what the levels below may do; the rest is 401, existing or not."""
    server = serve() if level == "protected" else serve(anonymous=level)
    reply = server.call(method, path.format(repository="no/such"))
    if LEVELS.index(level) >= LEVELS.index(least):
        assert reply.status not in {401, 403}
    else:
        assert_challenged(reply, method)


def assert_challenged(reply: Reply, method: str = "GET") -> None:
    assert (reply.status, reply.code) == (401, "" if method == "HEAD" else "UNAUTHORIZED")
    assert reply.lines("WWW-Authenticate") == ['Basic realm="Entrepot"']


def test_anonymous_push(serve: Serve) -> None:
    """`push` is enough for a whole push and pull, and for cancelling an upload."""
    repository = Repository(serve(anonymous="push"))
    content = repository.push_image("v1")
    assert repository.call("GET", "manifests/v1").body == content
    assert repository.server.call("DELETE", repository.start()).status == 204
    assert_challenged(repository.call("DELETE", "manifests/v1"))


@pytest.mark.parametrize(
    "credentials", ["Bearer QQ==", "Basic dTpw", "Basic %%%", "Bearer", "", "Negotiate x", "Bearer a.b.c"]
)
def test_credentials_without_users(serve: Serve, credentials: str) -> None:
    """Without users credentials open nothing; who has sent some is not asked for others, again and again."""
    headers = [("Authorization", credentials)]
    assert serve(anonymous="pull").call("GET", "/v2/", *headers).status == 200
    for server, method, path in (
        (serve(anonymous="none"), "GET", "/v2/"),
        (serve(anonymous="pull"), "POST", "/v2/a/blobs/uploads/"),
    ):
        reply = server.call(method, path, *headers)
        assert (reply.status, reply.code) == (403, "DENIED")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_right(serve: Serve, path: str) -> None:
    """Load balancers have no credentials and their own idea of Host."""
    assert serve(anonymous="none").call("GET", path, ("Host", "10.0.0.7:5000")).status == 200


def test_a_refusal_comes_before_the_grammar_of_the_body(serve: Serve) -> None:
    """Who may not push hears nothing about what he pushes."""
    server = serve(anonymous="pull")
    assert_challenged(server.call("PUT", "/v2/a/manifests/v1", ("Content-Type", OCI_MANIFEST), body=b"nonsense"))
    assert_challenged(server.call("POST", "/v2/a/blobs/uploads/?digest=nonsense"))
    assert_challenged(server.call("PUT", "/v2/a/manifests/v1", body=b"x" * (5 << 20)))


LOCAL_HOSTS = [
    "localhost",
    "localhost:5000",
    "LocalHost",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.1.2.3:80",
    "[::1]",
    "[::1]:5000",
]
FOREIGN_HOSTS = [
    "registry.example", "registry.example:5000", "10.0.0.1", "0.0.0.0:5000", "localhost.evil.example",
    "127.0.0.1.evil.example", "evil-localhost", "[::ffff:8.8.8.8]", "[2001:db8::1]", "2130706433", "0x7f000001",
    "127.1", "localhost.",
]  # fmt: skip


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_protected_mode_serves_this_machine(server: RunningServer, host: str) -> None:
    """Under any name of loopback."""
    assert server.call("GET", "/v2/", ("Host", host)).status == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_protected_mode_refuses_foreign_hosts(server: RunningServer, host: str) -> None:
    """A web page whose name points to 127.0.0.1, or a proxy, must not open the registry to others."""
    for method, path in (("GET", "/v2/"), ("POST", "/v2/a/blobs/uploads/"), ("DELETE", "/v2/a/manifests/v1")):
        reply = server.call(method, path, ("Host", host))
        assert (reply.status, reply.code) == (403, "DENIED")


FORWARDING = [
    ("Forwarded", "for=10.0.0.1"), ("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Host", "localhost"), ("X-Forwarded-Proto", "https"), ("X-Real-IP", "10.0.0.1"), ("Via", "1.1 proxy"),
    ("X-Forwarded-Port", "443"), ("X-Forwarded-Server", "proxy"), ("X-Forwarded-Prefix", "/x"), ("x-forwarded-for", ""),
    ("True-Client-IP", "10.0.0.1"), ("CF-Connecting-IP", "10.0.0.1"), ("Sec-Fetch-Site", "cross-site"),
]  # fmt: skip


@pytest.mark.input(12)
@pytest.mark.parametrize(("name", "value"), FORWARDING)
def test_protected_mode_refuses_what_a_proxy_sends(server: RunningServer, name: str, value: str) -> None:
    """A proxy on this machine would make the whole world loopback."""
    reply = server.call("GET", "/v2/", (name, value))
    assert (reply.status, reply.code) == (403, "DENIED")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost:3000", 202),
        ("http://127.0.0.1", 202),
    ],
)
def test_protected_mode_refuses_foreign_pages(server: RunningServer, origin: str, status: int) -> None:
    """A page may POST without asking first, so its origin decides."""
    assert server.call("POST", "/v2/page/app/blobs/uploads/", ("Origin", origin)).status == status


NO_HOSTS = [
    "",
    "a/b?c#d",
    "user@localhost",
    "localhost:port",
    "localhost:123456",
    "a b",
    "a" * 300,
    "http://localhost",
    "é",
    "[::1",
    "::1",
]


@pytest.mark.input(11)
@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("level", ["protected", "push"])
def test_what_is_no_host(serve: Serve, level: str, host: str) -> None:
    """A Host that is none is 400, at every level."""
    server = serve() if level == "protected" else serve(anonymous=level)
    reply = server.call("GET", "/v2/", ("Host", host))
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")


@pytest.mark.input(11)
def test_two_hosts_and_none(server: RunningServer) -> None:
    """Exactly one Host."""
    assert server.call("GET", "/v2/", ("Host", "localhost"), ("Host", "localhost")).status == 400
    with server.connect() as connection:
        connection.write(b"GET /v2/ HTTP/1.1\r\n\r\n")
        assert connection.read().status == 400


IGNORED = [
    ("Host", "registry.example"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/evil"), ("Forwarded", "host=evil.example;proto=https"), ("X-Original-URL", "/v2/_catalog"),
    ("X-Rewrite-URL", "/v2/_catalog"), ("X-HTTP-Method-Override", "DELETE"), ("Origin", "http://evil.example"),
    ("X-Forwarded-For", "10.0.0.1, 127.0.0.1"), ("X-Real-IP", "10.0.0.1"), ("Cookie", "__proto__=1; a=b" * 500),
]  # fmt: skip


@pytest.mark.input(11, 12, 25)
@pytest.mark.parametrize(("name", "value"), IGNORED)
def test_headers_that_change_nothing(serve: Serve, name: str, value: str) -> None:
    """Once strangers are served, what they claim changes neither the method, nor the path, nor a Location."""
    server = serve(anonymous="push")
    repository = Repository(server)
    reply = server.call("POST", f"/v2/{repository.name}/blobs/uploads/", (name, value))
    assert reply.status == 202
    assert reply["Location"].startswith(f"/v2/{repository.name}/blobs/uploads/")


def test_a_public_url_begins_every_location(serve: Serve) -> None:
    """Configured by name, Locations and Links are absolute, whatever Host says."""
    repository = Repository(serve(anonymous="push", public_url="https://registry.example"))
    content = image(b"")
    calls = [
        Call("POST", f"/v2/{repository.name}/blobs/uploads/"),
        Call("POST", f"/v2/{repository.name}/blobs/uploads/?digest={digest_of(b'')}"),
        Call("PUT", f"/v2/{repository.name}/manifests/v1", [("Content-Type", OCI_MANIFEST)], content),
        Call("PUT", f"/v2/{repository.name}/manifests/v2", [("Content-Type", OCI_MANIFEST)], content),
    ]
    for call in calls:
        with Connection(repository.server.port) as connection:
            connection.write(written(call, repository.server.port))
            location = connection.read(call.method)["Location"]
        assert location.startswith(f"https://registry.example/v2/{repository.name}/")
    assert repository.call("GET", "tags/list?n=1")["Link"].startswith(
        f"<https://registry.example/v2/{repository.name}/"
    )

"""What the proxy does with a registry's requests."""

import re
from pathlib import Path

import pytest

from registry.config import Config

from .files import compose
from .nginx import CONFIGURATION, Directive, local_configuration, parse

UPSTREAMS = ("registry", "registry_afresh")
ROUND_ROBIN = {"zone", "server", "keepalive", "keepalive_timeout"}  # and none that chooses otherwise


@pytest.fixture(scope="module")
def http() -> Directive:
    return parse(CONFIGURATION.read_text()).one("http")


@pytest.fixture(scope="module")
def server(http: Directive) -> Directive:
    return http.one("server")


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


def upstream(http: Directive, name: str) -> Directive:
    (found,) = [directive for directive in http.all("upstream") if directive.arguments == (name,)]
    return found


@pytest.mark.parametrize("name", UPSTREAMS)
def test_every_replica_has_its_turn(http: Directive, name: str) -> None:
    """Each request goes to the next replica of the compose file, whoever sends it."""
    block = upstream(http, name)
    replicas = {f"{service}:5000" for service in compose()["services"] if service.startswith("registry-")}
    assert {directive.arguments[0] for directive in block.all("server")} == replicas
    assert {directive.name for directive in block.block} <= ROUND_ROBIN
    assert all("resolve" in directive.arguments for directive in block.all("server"))


def test_idle_connections(http: Directive) -> None:
    """The proxy lets go of an idle connection before the registry closes it."""
    kept = upstream(http, "registry").one("keepalive_timeout").arguments[0]
    assert seconds(kept) < Config().idle_seconds


def test_only_reads_go_over_kept_connections(http: Directive, server: Directive) -> None:
    """What may have a body gets a connection of its own."""
    chosen = {directive.name: directive.arguments[0] for directive in http.one("map").block}
    assert chosen == {"GET": "registry", "HEAD": "registry", "default": "registry_afresh"}
    assert not upstream(http, "registry_afresh").all("keepalive")
    assert {directive.arguments for directive in server.walk() if directive.name == "proxy_pass"} == {
        ("http://$replicas",)
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_max_body_size", "0"),
        ("proxy_request_buffering", "off"),
        ("proxy_buffering", "off"),
        ("proxy_http_version", "1.1"),
        ("proxy_redirect", "off"),
        ("merge_slashes", "off"),
        ("gzip", "off"),
    ],
)
def test_requests_pass_through(http: Directive, name: str, value: str) -> None:
    """Bodies of any size go straight through, and paths and content stay as they are, at every address."""
    assert [directive.arguments for directive in http.walk() if directive.name == name] == [(value,)]


def test_the_registry_speaks_first(http: Directive) -> None:
    """Whose body stops coming hears 408 from the registry, in the form that its client understands."""
    assert seconds(http.one("client_body_timeout").arguments[0]) > Config().body_idle_seconds


def test_what_the_registry_hears_of_the_client(http: Directive) -> None:
    """The proxy says where a request came from, and passes on nothing that the client says of that."""
    headers = {
        directive.arguments[0]: directive.arguments[1]
        for directive in http.walk()
        if directive.name == "proxy_set_header"
    }
    assert headers == {
        "Connection": '""',
        "Host": "$http_host",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": '""',
        "X-Real-IP": '""',
        "Forwarded": '""',
    }


def test_what_is_repeated(http: Directive, server: Directive) -> None:
    """A POST may be repeated where it opens a session, and nowhere else; no status means another try."""
    assert http.one("proxy_next_upstream").arguments == ("error", "timeout")
    (special,) = [location for location in server.all("location") if location.all("proxy_next_upstream")]
    assert special.one("proxy_next_upstream").arguments == ("error", "timeout", "non_idempotent")
    assert special.arguments[0] == "~"
    paths = {
        "/v2/a/b/blobs/uploads/": True,
        "/v2/a/b/blobs/uploads": True,
        "/v2/a/b/blobs/uploads/3f2a": False,
        "/v2/a/b/manifests/uploads": False,
        "/v2/a/b/blobs/sha256:00": False,
    }
    assert {path: bool(re.search(special.arguments[1], path)) for path in paths} == paths


def test_metrics_stay_inside(server: Directive) -> None:
    """Nobody reads the metrics through the proxy."""
    (location,) = [location for location in server.all("location") if location.arguments == ("=", "/metrics")]
    assert location.one("return").arguments == ("404",)


def test_the_file_for_processes(http: Directive) -> None:
    """The file that tests run differs in addresses and folders alone."""
    local = parse(local_configuration(Path("/folder"), 5999, [5001, 5002]))
    assert local.one("pid").arguments == ("/folder/nginx.pid",)
    changed = local.one("http")
    for name in UPSTREAMS:
        servers = [directive.arguments[0] for directive in upstream(changed, name).all("server")]
        assert servers == ["127.0.0.1:5001", "127.0.0.1:5002"]
    assert changed.one("server").one("listen").arguments[0] == "127.0.0.1:5999"
    words = {name for directive in changed.walk() for name in (directive.name, *directive.arguments)}
    assert not {"resolve", "resolver"} & words
    assert [directive.name for directive in changed.block] == [
        directive.name for directive in http.block if directive.name != "resolver"
    ]


@pytest.mark.parametrize("text", ["a b", "a { b; } }", "a { b }"])
def test_malformed(text: str) -> None:
    """What is no configuration is not read as one."""
    with pytest.raises(ValueError, match=r"brace|semicolon"):
        parse(text)

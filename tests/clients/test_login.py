"""Every family of clients against a registry that knows its callers: users, robots, CI jobs and strangers."""

import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.access.issuer import issuing

from .accounts import Accounts, Login, add_everybody
from .families import Client, Command, Crane, Ctr, Docker, Oras, PodmanClient, Regctl, Skopeo
from .images import Image
from .registry import Registry
from .requestlog import RequestLog
from .suites import Suite, tool_path

CLIENTS = (
    "docker20", "docker28", "podman4", "podman5", "skopeo1.9", "skopeo1.22",
    "containerd16", "containerd21", "oras", "crane", "regctl",
)  # fmt: skip
WHO_ARE_YOU = re.compile(r"unauthorized|authentication required|authorization failed|access denied", re.IGNORECASE)
# What the registry answers, or, where a client does not show that, the words of its status.
NOT_GRANTED = re.compile(r"your grants( for \S+)? do not include|403 Forbidden")
# More than any client needs for one command: what asks again and again does not come to an end there.
MOST_REFUSALS, MOST_TOKENS = 12, 12


@pytest.fixture(scope="module")
def accounts(registry: Registry) -> Iterator[Accounts]:
    with issuing(lambda: time.time_ns() // 1_000_000) as issuer:
        yield add_everybody(registry, issuer)


@pytest.fixture(scope="module")
def images(small: Image, sibling: Image) -> dict[str, Image]:
    return {"one": small, "two": sibling}


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, registry: Registry, images: dict[str, Image]) -> Client:
    """One of the clients, logged in as nobody."""
    name, address = request.param, registry.address
    if name.startswith("docker"):
        return Docker(request.getfixturevalue(name), address, images)
    if name.startswith("containerd"):
        return Ctr(request.getfixturevalue(name), address, images)
    suite = request.getfixturevalue("debian12" if name in {"podman4", "skopeo1.9", "regctl"} else "newer")
    if name == "regctl":
        return Regctl(suite, address, images, tool_path(name))
    kinds: dict[str, Callable[[Suite, str, dict[str, Image]], Client]] = {
        "podman": PodmanClient,
        "skopeo": Skopeo,
        "oras": Oras,
        "crane": Crane,
    }
    return kinds[name.rstrip("0123456789.")](suite, address, images)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A part of repositories' names that only this scenario has."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")


def assert_came_as(log: RequestLog, actor: str) -> None:
    """All that was served was asked for by the actor, after a token, and without going round in circles."""
    assert {request.actor for request in log.served()} == {actor}, str(log)
    assert {request.actor for request in log.tokens()} == {actor}, str(log)
    assert log[0].status == 401, str(log)
    assert next(request for request in log if request.status != 401).path == "/token", str(log)
    assert_comes_to_an_end(log)


def assert_comes_to_an_end(log: RequestLog) -> None:
    assert len([request for request in log if request.status == 401]) <= MOST_REFUSALS, str(log)
    assert len(log.tokens()) <= MOST_TOKENS, str(log)


def test_user_pushes_and_pulls(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """What a user pushes comes back, and every request was the user's."""
    client.log_in(accounts.alice)
    with registry.recording() as log:
        client.push("one", f"team/{name}", "1")
    assert_came_as(log, "alice")
    registry.assert_complete(f"team/{name}", "1")
    with registry.recording() as log:
        client.pull(f"team/{name}", "1")
    assert log.matching("GET", f"/v2/team/{name}/blobs/sha256:.*", 200)
    assert_came_as(log, "alice")


def test_mounts_between_repositories(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """Layers that the user may pull from one repository are mounted in another one."""
    client.log_in(accounts.alice)
    client.push("one", f"team/{name}/first", "1")
    with registry.recording() as log:
        client.copy("one", f"team/{name}/first", f"team/{name}/second", "1")
    assert len(log.mounts(f"team/{name}/second")) >= len(registry.manifest(f"team/{name}/second", "1")["layers"])
    registry.assert_complete(f"team/{name}/second", "1")


def test_robot_sets_its_tags_only(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """A robot for tags ci-* pushes ci-1, and is refused latest in words that say so."""
    client.log_in(accounts.tagger)
    with registry.recording() as log:
        client.push("one", f"team/{name}", "ci-1")
    assert_came_as(log, "robot:tagger")
    registry.assert_complete(f"team/{name}", "ci-1")
    assert NOT_GRANTED.search(client.refuse_push("one", f"team/{name}", "latest"))
    assert registry.call("GET", f"/v2/team/{name}/manifests/latest").status == 404


def test_reader_does_not_push(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """A robot that may pull is refused a push, before it has sent anything."""
    client.log_in(accounts.alice)
    client.push("one", f"team/{name}", "1")
    client.log_in(accounts.reader)
    with registry.recording() as log:
        client.pull(f"team/{name}", "1")
    assert_came_as(log, "robot:reader")
    with registry.recording() as log:
        assert NOT_GRANTED.search(client.refuse_push("two", f"team/{name}", "1"))
    assert_comes_to_an_end(log)
    assert not [request for request in log.uploads(f"team/{name}") if request.status < 300]


def test_creator_moves_no_tag(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """A robot that may create adds a tag, and is refused to move it to another image."""
    client.log_in(accounts.creator)
    client.push("one", f"team/{name}", "1")
    before = registry.digest(f"team/{name}", "1")
    assert NOT_GRANTED.search(client.refuse_push("two", f"team/{name}", "1"))
    assert registry.digest(f"team/{name}", "1") == before


def test_ci_job_pushes_and_pulls(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """A CI job logs in with the id token that its platform gives it, and may do what the trust rule says."""
    client.log_in(accounts.oidc())
    with registry.recording() as log:
        client.push("one", f"acme/app/{name}", "1")
    subject = "trust:ci/repo:acme/app:ref:refs/heads/main"
    assert_came_as(log, subject)
    registry.assert_complete(f"acme/app/{name}", "1")
    with registry.recording() as log:
        client.pull(f"acme/app/{name}", "1")
    assert_came_as(log, subject)
    assert re.search("there is no repository|404 Not Found", client.refuse_push("one", f"team/{name}", "1"))


def test_strangers_pull_what_is_public(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """Without a login the public is pulled; a push there, and a pull from elsewhere, ask for one."""
    client.log_in(accounts.alice)
    for namespace in ("public", "team"):
        client.push("one", f"{namespace}/{name}", "1")
    client.log_out()
    with registry.recording() as log:
        client.pull(f"public/{name}", "1")
    assert log.matching("GET", f"/v2/public/{name}/blobs/sha256:.*", 200)
    with registry.recording() as pushed:
        assert WHO_ARE_YOU.search(client.refuse_push("two", f"public/{name}", "2"))
    with registry.recording() as pulled:
        assert WHO_ARE_YOU.search(client.refuse_pull(f"team/{name}", "1"))
    assert {request.actor for request in (*log, *pushed, *pulled)} == {"anonymous"}
    for refused in (pushed, pulled):
        assert_comes_to_an_end(refused)


def test_nothing_is_left_after_logout(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """After a logout a client is a stranger, for pushes and pulls."""
    client.log_in(accounts.alice)
    client.push("one", f"team/{name}", "1")
    client.log_out()
    with registry.recording() as log:
        assert WHO_ARE_YOU.search(client.refuse_push("two", f"team/{name}", "1"))
        assert WHO_ARE_YOU.search(client.refuse_pull(f"team/{name}", "1"))
    assert {request.actor for request in log} == {"anonymous"}


def test_wrong_password(registry: Registry, accounts: Accounts, client: Client, name: str) -> None:
    """A wrong password is refused at login, or by the first request where a client does not ask before."""
    wrong = Login("mallory", accounts.alice.password)  # the failures of somebody who is known would slow alice down
    with registry.recording() as log:
        if client.checks_login:
            said = client.refuse_login(wrong)
        else:
            client.log_in(wrong)
            said = client.refuse_pull(f"team/{name}", "1")
    assert WHO_ARE_YOU.search(said) or "invalid username/password" in said, said
    assert [request for request in log if request.path == "/token" and request.status == 401], str(log)
    assert len(log) <= MOST_REFUSALS, str(log)


def test_helm(registry: Registry, accounts: Accounts, debian12: Suite) -> None:
    """Helm logs in, pushes a chart and reads it; without a login it is refused both."""
    helm, folder = tool_path("helm"), debian12.folder("helm-login")
    settings = {"HELM_REGISTRY_CONFIG": str(folder / "helm.json")}
    (folder / "demo").mkdir()
    (folder / "demo" / "Chart.yaml").write_text("apiVersion: v2\nname: demo\nversion: 1.0.0\n")
    debian12.run(helm, "package", folder / "demo", "--destination", folder)
    login: Command = [helm, "registry", "login", "--plain-http", "--password-stdin", "--username"]
    push: Command = [helm, "push", "--plain-http", folder / "demo-1.0.0.tgz", f"oci://{registry.address}/team/helm"]
    show: Command = [
        helm,
        "show",
        "chart",
        "--plain-http",
        "--version=1.0.0",
        f"oci://{registry.address}/team/helm/demo",
    ]
    said = debian12.refuse(*login, "mallory", registry.address, stdin=accounts.alice.password, **settings)
    assert WHO_ARE_YOU.search(said), said
    debian12.run(*login, accounts.alice.name, registry.address, stdin=accounts.alice.password, **settings)
    with registry.recording() as log:
        debian12.run(*push, **settings)
        assert "name: demo" in debian12.run(*show, **settings)
    assert_came_as(log, "alice")
    registry.assert_complete("team/helm/demo", "1.0.0")
    debian12.run(helm, "registry", "logout", registry.address, **settings)
    for command in (push, show):
        said = debian12.refuse(*command, **settings)
        assert WHO_ARE_YOU.search(said), said

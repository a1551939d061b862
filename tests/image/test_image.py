"""What is in the image, and what a hardened container of it does."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.clients.engines import DockerEngine
from tests.clients.images import MIB, Image, files_in_archive, layer, random_layer

from .conftest import Start, free_address, on_this_machine
from .container import HARDENED, IMAGE, Container
from .context import CHECKOUT, read_project

UNPRIVILEGED = "65532"
LIST_DISTRIBUTIONS = """
import importlib.metadata, json
print(json.dumps({found.name: found.version for found in importlib.metadata.distributions()}))
"""
FIND_TOOLS = """
import shutil
print(*filter(None, map(shutil.which, ("cc", "gcc", "g++", "ld", "make", "pip", "pip3", "git", "curl", "wget"))))
"""
WRITE_EVERYWHERE = """
import os, pathlib
for folder in ("/", "/tmp", "/var/tmp", "/opt/entrepot", "/etc", os.getcwd()):
    try:
        pathlib.Path(folder, "written").write_bytes(b"")
    except OSError as problem:
        print(folder, problem.strerror)
    else:
        pathlib.Path(folder, "written").unlink()
        print(folder, "written")
"""


@pytest.fixture(scope="module")
def small() -> Image:
    return Image((layer({"etc/motd": b"welcome\n"}), random_layer("lib/one", MIB)))


def test_configuration(docker: DockerEngine) -> None:
    """The image says whom it runs as, where its data is, how it is asked and stopped, and which version it is."""
    config = json.loads(docker.run("inspect", "--format={{json .Config}}", IMAGE))
    assert config["User"] == f"{UNPRIVILEGED}:{UNPRIVILEGED}"
    assert (config["Entrypoint"], config["Cmd"]) == (["entrepot"], ["serve"])
    assert config["Volumes"] == {"/data": {}}
    assert config["ExposedPorts"] == {"5000/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    project = read_project()["project"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels == {
        "title": "Entrepot",
        "description": project["description"],
        "licenses": project["license"],
        "version": project["version"],
        "revision": "tested",
        "base.name": "entrepot/base:test",
    }


def test_content(server: Container) -> None:
    """The image holds Entrepot and its dependencies as constraints.txt has them: no tests, no pip, no compiler."""
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    constraints = dict(line.lower().replace("_", "-").split("==") for line in lines if not line.startswith("#"))
    found = json.loads(server.run("python", "-I", "-c", LIST_DISTRIBUTIONS))
    versions = {name.lower().replace("_", "-"): version for name, version in found.items()}
    assert versions.pop("entrepot") == read_project()["project"]["version"]
    assert versions.items() <= constraints.items()
    assert not versions.keys() & {"pip", "setuptools", "hatchling", "pytest"}
    assert server.run("python", "-c", FIND_TOOLS).split() == []
    packages = server.process / "root" / "opt" / "entrepot" / "lib" / "python3.11" / "site-packages"
    assert not [name for name in ("tests", "conformance") if (packages / name).exists()]


def test_modules_are_compiled(server: Container) -> None:
    """No start has to compile a module, which a read-only file system would not keep."""
    tree = server.process / "root" / "opt" / "entrepot"
    sources = list(tree.rglob("registry/**/*.py"))
    stale = [source for source in sources if compiled_for(source) != int(source.stat().st_mtime)]
    assert sources
    assert not stale


def compiled_for(source: Path) -> int:
    """The modification time of the source that a module was compiled from."""
    compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
    return int.from_bytes(compiled.read_bytes()[8:12], "little")


def test_process(server: Container) -> None:
    """The server is the first process, without root, without capabilities, and can never get any."""
    status = server.status()
    assert status["NSpid"].split()[-1] == "1"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {UNPRIVILEGED}
    assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_accounts(server: Container) -> None:
    """The server's user has no account, and nobody in the image has a password."""
    etc = server.process / "root" / "etc"
    accounts = [line.split(":") for line in (etc / "passwd").read_text().splitlines()]
    assert UNPRIVILEGED not in {identity for _, _, identity, *_ in accounts}
    assert {password for _, password, *_ in accounts} == {"x"}
    shadow = [line.split(":")[1] for line in (etc / "shadow").read_text().splitlines()]
    assert all(password.startswith(("*", "!")) for password in shadow)


def test_only_the_volume_can_be_written(server: Container) -> None:
    """Everything but /data is read-only, and the server lives with that."""
    answers = dict(line.split(" ", 1) for line in server.run("python", "-c", WRITE_EVERYWHERE).splitlines())
    assert answers.pop("/data") == "written"
    assert set(answers.values()) == {"Read-only file system"}


def test_push_and_pull(docker: DockerEngine, server: Container, address: str, small: Image) -> None:
    """It takes a push from Docker and gives back the same image."""
    push(docker, small, f"{address}/demo/app:1")
    assert_pulls(docker, f"{address}/demo/app:1", small)
    requests = [json.loads(line) for line in server.log().splitlines() if '"event": "request"' in line]
    assert requests
    assert all(request["status"] < 500 for request in requests)


def test_commands(server: Container) -> None:
    """An operator's commands run beside the server, in its container."""
    version = read_project()["project"]["version"]
    assert version in server.run("entrepot", "--version")
    assert server.run("entrepot", "repository", "list", "--json")


def test_health_follows_the_server(server: Container) -> None:
    """A server that does not answer is unhealthy, and healthy when it answers again."""
    server.send("SIGSTOP")
    server.wait_until_it_is("unhealthy")
    server.send("SIGCONT")
    server.wait_until_healthy()


def test_defaults(start: Start) -> None:
    """With nothing set but who may pull, it serves every address of its network and is healthy."""
    container = start("--network=none", "--env=ENTREPOT_ANONYMOUS=pull")
    container.wait_until_healthy()
    listening = [line.split()[1] for line in (container.process / "net" / "tcp").read_text().splitlines()[1:]]
    assert f"00000000:{5000:04X}" in listening


def test_nobody_decided(docker: DockerEngine) -> None:
    """Without a decision about strangers it refuses to serve a network, and says which setting decides."""
    said = docker.refuse("run", "--rm", "--network=none", *HARDENED, IMAGE)
    assert "ENTREPOT_ANONYMOUS" in said
    assert "Traceback" not in said


def test_stop_and_start_again(docker: DockerEngine, start: Start, small: Image) -> None:
    """SIGTERM ends the server with status 0, and the next one on its volume has what was pushed."""
    address = free_address()
    options = (*on_this_machine(address), "--volume=kept:/data")
    first = start(*options)
    first.wait_until_healthy()
    push(docker, small, f"{address}/demo/kept:1")
    assert first.stop() == 0
    start(*options).wait_until_healthy()
    assert_pulls(docker, f"{address}/demo/kept:1", small)


def test_stop_with_a_stalled_client(start: Start) -> None:
    """A client that stalls in an upload does not hold the server until Docker kills it."""
    address = free_address()
    container = start(*on_this_machine(address))
    container.wait_until_healthy()
    with stalled_upload(address):
        assert container.stop() == 0


def push(docker: DockerEngine, image: Image, reference: str) -> None:
    docker.run("load", "--input", image.write_archive(docker.folder / "load.tar", reference))
    docker.run("push", reference)
    docker.forget(reference)


def assert_pulls(docker: DockerEngine, reference: str, image: Image) -> None:
    docker.run("pull", reference)
    assert files_in_archive(docker.save(reference)) == image.files
    docker.forget(reference)


@contextmanager
def stalled_upload(address: str) -> Iterator[None]:
    """Hold a request whose body stops after its first bytes, once the server reads it."""
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("POST", "/v2/demo/stalled/blobs/uploads/")
        opened = connection.getresponse()
        opened.read()
        connection.putrequest("PATCH", opened.headers["Location"])
        connection.putheader("Content-Length", str(MIB))
        connection.putheader("Expect", "100-continue")
        connection.endheaders(b"the first bytes")
        with connection.sock.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 100")
        yield

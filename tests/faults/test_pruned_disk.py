"""A disk that pushes have filled days ago is pruned, in every way there is, and pushes work again."""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.faults.small_disk import LAYER, MIB, REPOSITORY, Filling, fill, find_room, mounted
from tests.kill import running
from tests.kill.client import Client, Unanswered, Unreachable
from tests.kill.content import Manifest, digest_of, make_content, make_image
from tests.kill.history import Kind, Name
from tests.kill.pusher import Pusher, Refused
from tests.kill.running import COMMAND, RunningServer
from tests.kill.verification import find_faults
from tests.waiting import wait_until

SIZE, RESERVE = 48, 8  # MiB
SECONDS = 180  # a collection waits a minute for what it condemned
FULL = 507
KEEP_THREE = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3},
            "action": {"type": "expire"},
        }
    ]
}
SETTINGS = {
    "ENTREPOT_RESERVE_MIB": str(RESERVE),
    "ENTREPOT_BRAKE_PERCENT": "100",
    "ENTREPOT_COLLECTOR": "off",  # what is tested here is what an operator does
}


@dataclass
class FullDisk:
    """A registry on a disk with only its reserve left, and a server that was started on it."""

    path: Path
    filling: Filling
    server: RunningServer
    settings: dict[str, str]

    def entrepot(self, *arguments: str) -> str:
        """Run a command that must succeed."""
        settings = environment({"ENTREPOT_DATA": str(self.path)} | self.settings)
        done = subprocess.run(
            [COMMAND, *arguments], env=settings, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0, f"{arguments}: {done}"
        return done.stdout

    def forget(self, *images: Manifest) -> None:
        """They are deleted, whoever did it."""
        for image in images:
            tag = str(self.filling.images.index(image))
            names = [Name(Kind.MANIFEST, REPOSITORY, image.digest), Name(Kind.TAG, REPOSITORY, tag)]
            self.filling.history.acknowledged(f"deleted {tag}", dict.fromkeys(names))

    def is_ready(self) -> bool:
        return ask(self.server, "/readyz") == 200


def ask(server: RunningServer, path: str) -> int | None:
    try:
        with Client(server.port) as client:
            return client.call("GET", path).status
    except (Unreachable, Unanswered):
        return None


def start(disk: Path, log: Path, settings: dict[str, str]) -> RunningServer:
    """A full disk is not ready for pushes, so the sign of life is another one."""
    server = RunningServer([str(COMMAND), "serve"], disk, log, **settings)
    try:
        wait_until(lambda: server.program.poll() is not None or ask(server, "/healthz") == 200, "the server answers")
        assert server.program.poll() is None, server.log_end()
    except BaseException:
        server.kill()
        raise
    return server


@pytest.fixture
def full(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FullDisk]:
    """Its undelete window is the test's parameter, in days; seven without one."""
    settings = SETTINGS | {"ENTREPOT_UNDELETE_DAYS": str(getattr(request, "param", 7))}
    with mounted(tmp_path / "disk", SIZE) as disk:
        filling = asyncio.run(fill(disk, RESERVE))
        opened = FullDisk(disk, filling, start(disk, tmp_path / "server.log", settings), settings)
        try:
            yield opened
        finally:
            opened.server.stop()
        assert running.check(disk) == ""


def push(full: FullDisk, number: int) -> int:
    """The status with which a small image is refused; 201 when it is not."""
    layer = make_content(f"new layer {number}", MIB)
    with Client(full.server.port) as client:
        pusher = Pusher(client, full.filling.history, "load/new")
        try:
            pusher.push_in_chunks(layer, 2)
            pusher.put(make_image(layer, [layer]), f"{number}")
        except Refused as refusal:
            return refusal.status
    return 201


def pull(full: FullDisk, image: Manifest) -> None:
    """The manifest and the layer, byte by byte. No HEAD: that would lease the layer against the collector for a day."""
    with Client(full.server.port) as client:
        manifest = client.call("GET", f"/v2/{REPOSITORY}/manifests/{image.digest}")
        assert (manifest.status, manifest.content) == (200, image.content)
        digest = json.loads(manifest.content)["layers"][0]["digest"]
        layer = client.call("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
        assert (layer.status, digest_of(layer.content)) == (200, digest)


def assert_full(full: FullDisk) -> None:
    """Pushes are refused, once small images fill what a large one left; pulls work."""
    answers = {push(full, number) for number in range(8)}
    assert answers <= {201, FULL}
    assert push(full, 8) == FULL
    assert not full.is_ready()
    for image in full.filling.images:
        pull(full, image)


def assert_roomy(full: FullDisk, images: int) -> None:
    """So many images are gone, and as much can be pushed again."""
    assert find_room(full.path) > RESERVE * MIB + (images - 1) * LAYER
    assert full.is_ready()
    for number in range(100, 100 + images):
        assert push(full, number) == 201
    assert find_faults(full.server.port, full.filling.history) == []


def delete_by_http(full: FullDisk, image: Manifest) -> None:
    with Client(full.server.port) as client:
        Pusher(client, full.filling.history, REPOSITORY).delete_manifest(image)
    full.forget(image)


def delete_by_command(full: FullDisk, image: Manifest) -> None:
    full.entrepot("manifest", "delete", REPOSITORY, image.digest)
    full.forget(image)


def purge_by_digest(full: FullDisk) -> int:
    """A push of a secret, deleted over HTTP and purged by name."""
    image = full.filling.images[0]
    delete_by_http(full, image)
    full.entrepot("garbage", "purge", image.digest, "--yes")
    return 1


def purge_deleted(full: FullDisk) -> int:
    """All that was deleted in a repository."""
    for image in full.filling.images[:2]:
        delete_by_command(full, image)
    full.entrepot("garbage", "purge", "--repository", REPOSITORY, "--yes")
    return 2


def purge_repository(full: FullDisk) -> int:
    full.entrepot("repository", "delete", REPOSITORY, "--yes")
    full.forget(*full.filling.images)
    full.filling.history.repositories.pop(REPOSITORY)
    full.entrepot("garbage", "purge", "--repository", REPOSITORY, "--yes")
    return len(full.filling.images)


def purge_run(full: FullDisk) -> int:
    """What a policy removed: the policy is set on the full disk, too."""
    policy = full.path.parent / "policy.json"
    policy.write_text(json.dumps(KEEP_THREE))
    full.entrepot("lifecycle", "set", REPOSITORY, str(policy))
    full.entrepot("lifecycle", "run")
    expired = full.filling.images[:-3]
    full.forget(*expired)
    (run,) = json.loads(full.entrepot("lifecycle", "runs", "--json"))["runs"]
    full.entrepot("garbage", "purge", "--run", str(run["run"]), "--yes")
    return len(expired)


@pytest.mark.parametrize("make_room", [purge_by_digest, purge_deleted, purge_repository, purge_run])
def test_a_purge_makes_room(full: FullDisk, make_room: Callable[[FullDisk], int]) -> None:
    """On a full disk the undelete windows end by name: the bytes are free at once, and pushes work again."""
    assert_full(full)
    assert_roomy(full, make_room(full))


@pytest.mark.timeout(240)  # what nothing names is looked at a second time, a minute later
@pytest.mark.parametrize("full", [0], indirect=True)
def test_a_collection_makes_room(full: FullDisk) -> None:
    """Without an undelete window, deletes over HTTP, by command and by policy are room after a collection."""
    assert_full(full)
    images = full.filling.images
    delete_by_http(full, images[-1])
    delete_by_command(full, images[-2])
    policy = full.path.parent / "policy.json"
    policy.write_text(json.dumps(KEEP_THREE))
    full.entrepot("lifecycle", "set", REPOSITORY, str(policy))
    full.entrepot("lifecycle", "run")
    full.forget(*images[:-5])
    assert not full.is_ready(), "bytes go with the collector"
    collected = json.loads(full.entrepot("garbage", "collect", "--json"))
    assert collected["bytes"] >= (len(images) - 3) * LAYER
    assert_roomy(full, len(images) - 3)


def test_identities_are_managed_on_a_full_disk(full: FullDisk) -> None:
    """Whoever has to make room can be let in, and what was done is audited."""
    assert_full(full)
    full.entrepot("user", "add", "janitor", "--admin")
    full.entrepot("user", "add", "watchman")
    full.entrepot("user", "grant", "watchman", "**", "pull")
    events = full.entrepot("audit", "--json")
    assert re.search(r'"user\.\w+"', events)
    full.entrepot("user", "remove", "watchman")


def test_a_start_without_a_free_byte_says_why(full: FullDisk, tmp_path: Path) -> None:
    """Somebody else has used up the reserve as well: a start says that the disk is full; with room it works again."""
    full.server.stop()
    ballast = full.path / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert find_room(full.path) == 0
    refused = RunningServer([str(COMMAND), "serve"], full.path, tmp_path / "refused.log", **full.settings)
    assert refused.program.wait(SECONDS) == 1
    assert "the disk is full: there is no room even to open the database" in refused.log_end()
    ballast.unlink()
    full.server = start(full.path, tmp_path / "again.log", full.settings)
    assert_full(full)

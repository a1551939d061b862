"""A full disk: pushes are refused with 507, everything else goes on, and pushes work again when there is room."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.small_disk import MIB, find_room, mounted
from tests.kill import running
from tests.kill.client import Answer, Client
from tests.kill.content import digest_of, make_content, make_image
from tests.kill.history import History
from tests.kill.pusher import OCTETS, Pusher, Refused
from tests.kill.running import RunningServer
from tests.kill.verification import find_faults

SIZE = 24  # MiB
TOO_LARGE = make_content("too large", (SIZE + 8) * MIB)
UPLOADS = "/v2/load/full/blobs/uploads/"
FULL = 507


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", SIZE) as path:
        yield path


@pytest.fixture
def server(disk: Path, tmp_path: Path) -> Iterator[RunningServer]:
    started = running.start(disk, tmp_path / "server.log")
    yield started
    started.stop()
    assert running.check(disk) == ""


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.port) as opened:
        yield opened


@pytest.fixture
def history(client: Client) -> History:
    """A registry that holds an image from before the disk was full."""
    record = History()
    pusher = Pusher(client, record, "load/before")
    config, layer = make_content("config", 1_000), make_content("layer", 1_000_000)
    pusher.push_with_post(config)
    pusher.push_in_chunks(layer, 2)
    pusher.put(make_image(config, [layer]), "latest")
    return record


def push_more(client: Client, history: History, seed: str) -> None:
    pusher = Pusher(client, history, "load/after")
    content = make_content(seed, 100_000)
    pusher.push_with_put(content)
    pusher.put(make_image(content, [content]), seed)


def post_whole(client: Client) -> Answer:
    return client.call("POST", f"{UPLOADS}?digest={digest_of(TOO_LARGE)}", TOO_LARGE, OCTETS)


def put_whole(client: Client) -> Answer:
    location = client.call("POST", UPLOADS).headers["location"]
    return client.call("PUT", f"{location}?digest={digest_of(TOO_LARGE)}", TOO_LARGE, OCTETS)


def patch_whole(client: Client) -> Answer:
    location = client.call("POST", UPLOADS).headers["location"]
    return client.call("PATCH", location, TOO_LARGE, OCTETS)


def post_small(client: Client) -> Answer:
    content = make_content("small", 20_000)
    return client.call("POST", f"{UPLOADS}?digest={digest_of(content)}", content, OCTETS)


def put_manifest(client: Client) -> Answer:
    config, layer = make_content("config", 1_000), make_content("layer", 1_000_000)
    manifest = make_image(config, [layer], note="x" * 100_000)
    path = f"/v2/load/before/manifests/{manifest.digest}"
    return client.call("PUT", path, manifest.content, {"Content-Type": manifest.media_type})


@pytest.mark.parametrize("push", [post_whole, put_whole, patch_whole])
def test_a_blob_larger_than_the_disk_is_refused(
    push: Callable[[Client], Answer], client: Client, server: RunningServer, history: History
) -> None:
    """A blob that fills the disk is answered 507, loses nothing else, and gives its room back at once."""
    assert push(client).status == FULL
    assert find_faults(server.port, history) == []
    push_more(client, history, "after")
    assert find_faults(server.port, history) == []


def test_a_database_without_room_refuses_pushes(
    client: Client, server: RunningServer, history: History, disk: Path
) -> None:
    """With no byte free pulls go on and every push is 507; with room again pushes work, without a restart."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    for number in range(60):  # more than what is left of already allocated pages can take
        if client.call("POST", f"/v2/load/{number}/blobs/uploads/").status == FULL:
            break
    for push in (post_small, put_manifest):
        assert push(client).status == FULL
    assert find_faults(server.port, history) == []
    assert client.call("GET", "/healthz").status == 200
    assert client.call("GET", "/readyz").status == 503
    ballast.unlink()
    assert client.call("GET", "/readyz").status == 200
    push_more(client, history, "after")
    assert find_faults(server.port, history) == []


def push_until_refused(pusher: Pusher, size: int) -> Refused:
    for number in range(100):
        try:
            pusher.push_with_put(make_content(f"{size} {number}", size))
        except Refused as refusal:
            return refusal
    raise AssertionError(f"the disk took {number} blobs of {size} bytes")


def test_pushes_leave_the_reserve(client: Client, server: RunningServer, history: History, disk: Path) -> None:
    """Pushes stop at a twentieth of the disk, with a clear answer, while pulls go on; readiness says why."""
    for size in (MIB, MIB // 16, 4096):
        refusal = push_until_refused(Pusher(client, history, "load/fill"), size)
        assert refusal.status == FULL
        assert "the registry's disk is full: nothing was changed, pulls go on" in str(refusal)
    assert 0.8 < find_room(disk) / (SIZE * MIB / 20) < 1.2
    for push in (post_small, put_manifest):
        answer = push(client)
        assert (answer.status, json.loads(answer.content)["errors"][0]["code"]) == (FULL, "UNKNOWN")
    ready = client.call("GET", "/readyz")
    assert ready.status == 503
    assert b"disk is full" in ready.content
    assert find_faults(server.port, history) == []

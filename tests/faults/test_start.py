"""The work of a start does not depend on how much the registry holds."""

import asyncio
from pathlib import Path

import pytest

from registry.identity import Actor, Deed
from registry.metadata import blobs, manifests, repositories, tags, uploads
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Transaction
from registry.metadata.sqlite import SqliteDatabase
from registry.metadata.uploads import UploadSession
from registry.oci.manifest import parse_manifest
from registry.oci.names import RepositoryName, Tag
from storage.blobstore import UploadState
from storage.digest import Digest
from tests.faults import traced
from tests.kill import running
from tests.kill.content import make_content, make_image
from tests.kill.running import RunningServer

FEW, MANY = 10, 10_000
CALLS_APART = 60  # system calls: some more pages of a deeper tree, a poll more or less
STEPS_APART = 200  # steps of SQLite's virtual machine: the same
CALLS = "%file,pread64,getdents64"  # names, reads of the database, lists of directories: no polls, no sockets
NAME = RepositoryName("load/many")


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    few, many = tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("many")
    for storage, count in ((few, FEW), (many, MANY)):
        running.start(storage, storage / "server.log").stop()
        asyncio.run(fill(storage, count))
    return few, many


async def fill(storage: Path, count: int) -> None:
    """Give the registry `count` blobs, manifests, tags and open upload sessions, and the blobs their files."""
    database = SqliteDatabase(storage / "entrepot.db")
    await database.write(lambda tx: insert(tx, count))
    database.close()
    for number in range(count):
        path = storage / "blobs" / "data" / key_of(number)[:2] / key_of(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content_of(number))


def insert(tx: Transaction, count: int) -> None:
    deed = Deed(Actor("anonymous"), 1)
    repository_id = repositories.get_or_make(tx, NAME, "push", deed)
    for number in range(count):
        content = content_of(number)
        blobs.insert(tx, StoredBlob(Digest.of(content), key_of(number), len(content)), deed)
        blobs.give_right(tx, GivenRight(repository_id, Digest.of(content), "blob.push", deed.at), deed)
        pushed = make_image(content, [content])
        manifest = parse_manifest(pushed.content, pushed.media_type)
        manifest_id = manifests.put(tx, repository_id, manifest, deed)
        tags.set_tag(tx, repository_id, Tag(f"tag-{number}"), str(manifest.digest), manifest_id, deed)
        state = UploadState(f"session{key_of(number)}", 0)
        uploads.insert(tx, UploadSession(f"id{number}", NAME, "anonymous", state, 1 << 50), 1)


def content_of(number: int) -> bytes:
    return make_content(f"blob {number}", 20)


def key_of(number: int) -> str:
    return make_content(f"key {number}", 16).hex()


def system_calls(storage: Path, tmp_path: Path) -> int:
    table = tmp_path / "calls"
    traced.stop(traced.start(storage, tmp_path / "server.log", CALLS, "-c", "-o", str(table)))
    total = table.read_text().splitlines()[-1].split()
    assert total[-1] == "total"
    return int(total[3])


def database_steps(storage: Path, tmp_path: Path) -> int:
    result = tmp_path / "steps"
    program = [str(running.PYTHON), "-m", "tests.faults.counting_server", str(result)]
    server = RunningServer(program, storage, tmp_path / "server.log")
    assert server.wait_ready(), server.log_end()
    server.stop()
    return int(result.read_text())


def test_a_start_makes_as_many_system_calls_for_many_blobs(registries: tuple[Path, Path], tmp_path: Path) -> None:
    """With 10,000 blobs a start opens, lists and reads no more than with 10."""
    few, many = (system_calls(storage, tmp_path) for storage in registries)
    print(f"system calls: {few} with {FEW} blobs, {many} with {MANY}")
    assert abs(many - few) <= CALLS_APART


def test_a_start_reads_as_many_rows_for_many_blobs(registries: tuple[Path, Path], tmp_path: Path) -> None:
    """With 10,000 blobs the database does no more steps during a start than with 10."""
    few, many = (database_steps(storage, tmp_path) for storage in registries)
    print(f"steps of the database: {few} with {FEW} blobs, {many} with {MANY}")
    assert few > 0
    assert abs(many - few) <= STEPS_APART

"""`entrepot backup`."""

import asyncio
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest

from registry.app import Registry
from registry.errors import Unavailable
from registry.metadata import postgres, schema
from registry.moving.archive import Title
from registry.moving.backup import Backup
from tests import places
from tests.cli.access import done, refused
from tests.cli.running import PROGRAM, Terminal, entrepot, program
from tests.metadata.locks import is_any_waiting
from tests.metadata.test_versions import ADDITIVE, make_later
from tests.moving.full import BLOBS, LARGE, SHARED, Full
from tests.scenarios.client import Client, open_registry
from tests.waiting import come_true

SIZE = sum(len(blob.content) for blob in BLOBS)


def key_of(full: Full, content: bytes) -> str:
    """The storage key of a blob with this content."""
    stored = places.look_into(full.folder)
    return next(key for key in stored.blobs() if stored.read(key) == content)


def test_everything_is_in_it(full: Full, tmp_path: Path) -> None:
    """The file has the rows and each blob by its digest, and the command says how much."""
    file = tmp_path / "backup.tar"
    text = done("backup", str(file))
    assert text.startswith("Saved as of 20")
    assert text.endswith("3 repositories, 6 manifests, 4 blobs of 1.1 MiB\n")
    with tarfile.open(file) as archive:
        names = archive.getnames()
        contents = {name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    blobs = {f"blobs/sha256/{blob.digest.encoded}": blob.content for blob in BLOBS}
    assert names == ["entrepot.json", "rows.jsonl", *sorted(blobs), "end.json"]
    assert {name: contents[name] for name in blobs} == blobs
    assert str(full.image.digest).encode() in contents["rows.jsonl"]
    assert json.loads(contents["end.json"]) == {"damaged": []}


@pytest.mark.usefixtures("full")
def test_it_tells_programs_what_it_has_done(tmp_path: Path) -> None:
    """In JSON: sizes in bytes, rows by table."""
    file = tmp_path / "backup.tar"
    document = json.loads(done("backup", str(file), "--json"))
    assert document["bytes"] == file.stat().st_size
    assert (document["blobs"], document["blob_bytes"], document["unsaved"]) == (4, SIZE, [])
    assert document["rows"]["repository"] == 3


@pytest.mark.usefixtures("full")
def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """It has hashes of passwords in it, and no keys that sign."""
    file = tmp_path / "backup.tar"
    done("backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"private_key" not in file.read_bytes()


@pytest.mark.usefixtures("full")
def test_no_file_is_replaced(tmp_path: Path) -> None:
    """A backup never goes over another one, which may be from before the damage."""
    file = tmp_path / "backup.tar"
    file.write_text("older")
    assert refused("backup", str(file)) == f"{file} is there already: name another file"
    assert file.read_text() == "older"


@pytest.mark.usefixtures("full")
def test_one_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """What a killed one has left is written over; a directory that is not there is named."""
    file = tmp_path / "backup.tar"
    file.with_name("backup.tar.part").write_bytes(b"left by a kill" * 1_000_000)
    done("backup", str(file))
    assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup.tar"]
    with tarfile.open(file) as archive:
        assert archive.getnames()[-1] == "end.json"
    assert "No such file or directory" in refused("backup", str(tmp_path / "missing" / "backup.tar"))


@pytest.mark.usefixtures("full")
def test_a_full_disk_is_named() -> None:
    """When the backup's own disk is full, that is what is told."""
    with Path("/dev/full").open("wb") as output:
        ended = subprocess.run(
            [PROGRAM, "backup", "-"], stdout=output, stderr=subprocess.PIPE, env=os.environ, check=False, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, b"entrepot: -: No space left on device\n")


@pytest.mark.usefixtures("full")
def test_a_reader_that_stops(tmp_path: Path) -> None:
    """When whoever reads the backup goes away, the status says that it is not whole."""
    script = f"set -o pipefail; '{PROGRAM}' backup - 2>'{tmp_path}/err' | head -c 1000 >/dev/null"
    ended = subprocess.run(["bash", "-c", script], env=os.environ, check=False, timeout=60)
    assert ended.returncode == 1
    assert (tmp_path / "err").read_text() == "entrepot: whoever reads the backup has stopped: it is not whole\n"


@pytest.mark.usefixtures("full")
def test_standard_output_has_nothing_else() -> None:
    """`-` writes the backup to standard output, and what is told to standard error."""
    ended = subprocess.run([PROGRAM, "backup", "-"], capture_output=True, env=os.environ, check=False, timeout=60)
    assert ended.returncode == 0
    assert len(ended.stdout) % 512 == 0
    assert ended.stderr.startswith(b"Saved as of 20")
    ended = subprocess.run(
        [PROGRAM, "backup", "-", "--json"], capture_output=True, env=os.environ, check=False, timeout=60
    )
    assert json.loads(ended.stderr)["bytes"] == len(ended.stdout)


def test_a_terminal(full: Full, tmp_path: Path) -> None:
    """A terminal sees a bar, and is spared the backup itself."""
    settings = places.environment(full.folder)
    with Terminal("backup", str(tmp_path / "backup.tar"), **settings) as terminal:
        assert terminal.wait() == 0
    assert "Saving blobs" in terminal.text
    with Terminal("backup", "-", **settings) as terminal:
        assert terminal.wait() == 1
    assert "would go to the terminal" in terminal.text


def test_damage_is_named_and_the_rest_saved(full: Full, tmp_path: Path) -> None:
    """A blob with other bytes and one without any are told, status 1; all others are in the file."""
    stored = places.look_into(full.folder)
    stored.write(key_of(full, LARGE.content), b"L" + LARGE.content[1:])
    stored.remove(key_of(full, SHARED.content))
    outcome = entrepot("backup", str(tmp_path / "backup.tar"))
    assert outcome.status == 1
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert lines[0] == ["PROBLEM", "DIGEST"]
    assert sorted(lines[1:3]) == [["changed", str(LARGE.digest)], ["missing", str(SHARED.digest)]]
    assert outcome.stdout.endswith("4 blobs of 1.1 MiB; 2 blobs NOT saved\n")
    with tarfile.open(tmp_path / "backup.tar") as archive:
        ended = json.loads(archive.extractfile("end.json").read())  # type: ignore[union-attr]
    assert sorted(ended["damaged"]) == sorted([str(LARGE.digest), str(SHARED.digest)])
    document = json.loads(entrepot("backup", str(tmp_path / "other.tar"), "--json").stdout)
    assert {"digest": str(SHARED.digest), "problem": "missing"} in document["unsaved"]


def test_no_registry(tmp_path: Path, use: Callable[[Path, None], None]) -> None:
    """Where no registry is there is nothing to save, and no file is made."""
    use(tmp_path / "nothing", None)
    assert "there is no registry" in refused("backup", str(tmp_path / "backup.tar"))
    assert list(tmp_path.glob("backup*")) == []


@pytest.mark.anyio
class TestBeside:
    """Beside what else goes on in the registry."""

    async def test_the_collector_waits(self, full: Full, tmp_path: Path) -> None:
        """While the blobs are read nothing is removed, not even by hand; afterwards the collector goes on."""
        registry = await open_registry(full.folder)
        told: list[str] = []

        def collect_meanwhile(_title: Title) -> None:
            outcome = program("garbage", "collect", "--now", **places.environment(full.folder))
            told.append(outcome.stderr)

        with (tmp_path / "backup.tar").open("wb") as file:
            await backup(registry).write(file, tmp_path, collect_meanwhile, lambda _size: None)
        assert told[0].startswith("entrepot: a backup or a move reads the blobs, and nothing is removed until it ends")
        assert (await registry.garbage.step(ignores_rest=True)).held_until is None
        registry.close()

    async def test_it_shows_one_instant(self, full: Full, tmp_path: Path) -> None:
        """What is changed after the rows were read is in the backup as it was before."""
        registry = await open_registry(full.folder)

        def delete(_title: Title) -> None:
            assert program("repository", "delete", "demo/multi", "--yes", **places.environment(full.folder)).status == 0

        with (tmp_path / "backup.tar").open("wb") as file:
            saved = await backup(registry).write(file, tmp_path, delete, lambda _size: None)
        assert saved.unsaved == []
        with tarfile.open(tmp_path / "backup.tar") as archive:
            lines = archive.extractfile("rows.jsonl").read().decode().splitlines()  # type: ignore[union-attr]
        (row,) = (json.loads(line) for line in lines if line.startswith('[2,"demo/multi"'))
        assert row[-2:] == [None, None], "when it was deleted and emptied"
        registry.close()

    async def test_a_repaired_blob_is_saved(self, full: Full, tmp_path: Path) -> None:
        """A blob that is pushed again after the rows were read is read under its new key."""
        registry = await open_registry(full.folder)
        places.look_into(full.folder).remove(key_of(full, SHARED.content))

        def repair(_title: Title) -> None:
            settings = places.environment(full.folder)
            assert program("scrub", **settings).status == 1
            repaired.append(True)

        repaired: list[bool] = []
        with (tmp_path / "backup.tar").open("wb") as file:
            saved = await backup(registry).write(file, tmp_path, repair, lambda _size: None)
        assert [each.digest for each in saved.unsaved] == [str(SHARED.digest)]
        await Client(registry).push_blob("demo/app", SHARED)
        with (tmp_path / "second.tar").open("wb") as file:
            saved = await backup(registry).write(file, tmp_path, lambda _title: None, lambda _size: None)
        assert (saved.unsaved, repaired) == ([], [True])
        registry.close()


@places.only_on("postgresql", "the embedded database has one writer, and snapshots of the schema, too")
@pytest.mark.anyio
async def test_no_schema_changes_while_its_rows_are_read(
    source: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a table that is changed behind its back would be missing: who would change one waits."""
    monkeypatch.setattr(postgres, "_MOST_WAITS", 0)
    with psycopg.connect(source.config.database) as holder, (tmp_path / "backup.tar").open("wb") as file:
        holder.execute("LOCK TABLE run IN ACCESS EXCLUSIVE MODE")  # one of the last that a backup reads
        saving = asyncio.create_task(backup(source).write(file, tmp_path, lambda _title: None, lambda _size: None))
        await come_true(partial(source.database.read, is_any_waiting), "the backup reads")
        number = make_later(monkeypatch, ADDITIVE, "ALTER TABLE change ADD COLUMN note TEXT")
        with pytest.raises(Unavailable, match="a backup or a vacuum"):
            await source.database.write(schema.migrate)
        holder.rollback()
        assert (await saving).title.rows["change"] > 0
    assert await source.database.write(schema.migrate) == number


def backup(registry: Registry) -> Backup:
    return Backup(registry.database, registry.store, registry.clock, "1.0")

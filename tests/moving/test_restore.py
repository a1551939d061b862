"""`entrepot restore`."""

import asyncio
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest

from registry.app import Registry
from registry.metadata import moves
from tests import places
from tests.api.running import running
from tests.cli.access import done, refused
from tests.cli.running import PROGRAM, Terminal, entrepot
from tests.metadata.test_versions import ADDITIVE, make_later
from tests.moving.full import BLOBS, LARGE, PASSWORD, SHARED, Full, read_everything, read_lines
from tests.moving.test_backup import key_of
from tests.places import Place
from tests.scenarios.client import Client, open_registry

T = TypeVar("T")
Use: TypeAlias = Callable[[Path, Place | None], None]


def inside(folder: Path, work: Callable[[Registry], Coroutine[Any, Any, T]]) -> T:
    """What `work` returns with the registry in the folder."""

    async def run() -> T:
        registry = await open_registry(folder)
        try:
            return await work(registry)
        finally:
            registry.close()

    return asyncio.run(run())


def test_all_is_as_it_was(full: Full, file: Path, tmp_path: Path, use: Use) -> None:
    """Each row and each byte is back, in a registry that check and scrub find whole; only the signing keys are new."""
    use(tmp_path / "other", None)
    text = done("restore", str(file))
    assert text.startswith("Restored as of 20")
    assert text.endswith("3 repositories, 6 manifests, 4 blobs of 1.1 MiB\n")
    before, after = inside(full.folder, read_lines), inside(tmp_path / "other", read_lines)
    signing = next(number for number, line in enumerate(before) if '"signing_key"' in line)
    assert after[:signing] == before[:signing]
    assert after[signing + 1] != before[signing + 1]
    assert after[-1] == before[-1], "the numbers go on"
    assert done("check") == "4 blobs: all are there\n"
    assert done("scrub").endswith("all are whole\n")
    inside(tmp_path / "other", lambda registry: read_everything(registry, full))


@pytest.mark.parametrize("target", places.EVERYWHERE, ids=str)
def test_to_other_stores(full: Full, file: Path, tmp_path: Path, use: Use, target: Place) -> None:
    """A backup of any pair of database and store becomes a registry on any other."""
    use(tmp_path / "other", target)
    done("restore", str(file))
    assert done("check") == "4 blobs: all are there\n"

    async def look() -> list[str]:
        registry = await open_registry(tmp_path / "other", target)
        try:
            await read_everything(registry, full)
            await Client(registry).push_blob("demo/new", SHARED)
            return await Client(registry).check()
        finally:
            registry.close()

    assert asyncio.run(look()) == []


@pytest.mark.usefixtures("full")
def test_from_standard_input(file: Path, tmp_path: Path, use: Use) -> None:
    """`-` reads the backup from a pipe; in JSON it is told what was restored."""
    use(tmp_path / "other", None)
    with file.open("rb") as stream:
        ended = subprocess.run(
            [PROGRAM, "restore", "-", "--json"],
            stdin=stream,
            capture_output=True,
            env=os.environ,
            check=True,
            timeout=60,
        )
    document = json.loads(ended.stdout)
    assert (document["blobs"], document["missing"]) == (4, [])
    assert document["blob_bytes"] == sum(len(blob.content) for blob in BLOBS)


@pytest.mark.usefixtures("full")
def test_people_log_in_as_before(file: Path, tmp_path: Path, use: Use) -> None:
    """Passwords are as they were; pulls and pushes work."""
    use(tmp_path / "other", None)
    done("restore", str(file))
    credentials = f"alice:{PASSWORD}"
    with running(tmp_path / "other") as server:
        asked = subprocess.run(
            ["curl", "-sf", "-u", credentials, f"http://127.0.0.1:{server.port}/v2/demo/app/tags/list"],
            capture_output=True,
            check=True,
            timeout=60,
        )
    assert json.loads(asked.stdout)["tags"] == ["1"]


@pytest.mark.usefixtures("full")
def test_the_collector_rests(file: Path, tmp_path: Path, use: Use) -> None:
    """Nothing is collected for a while: clients were told of blobs after the backup."""
    use(tmp_path / "other", None)
    done("restore", str(file))
    assert "the collector rests until" in refused("garbage", "collect").replace("waiting", "")


def test_not_over_a_registry(full: Full, file: Path) -> None:
    """Where a registry is, nothing is changed, and it is said what is there."""
    before = inside(full.folder, read_lines)
    assert refused("restore", str(file)).endswith(
        "a registry with 4 blobs is there already, and a backup is restored only where none is"
    )
    assert inside(full.folder, read_lines) == before


@pytest.mark.usefixtures("full")
def test_not_into_a_newer_schema(file: Path, tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is called by what it is, though this version could serve it."""
    use(tmp_path / "other", None)
    with monkeypatch.context() as later:
        number = make_later(later, ADDITIVE)
        assert entrepot("restore", str(file)).status == 1  # it is one of the schema before
    said = refused("restore", str(file))
    assert f"the database has schema {number}, which is a newer version's: give another one" in said


@places.only_on("files", "of directories")
@places.only_on("sqlite", "of directories")
@pytest.mark.usefixtures("full")
def test_not_over_other_blobs(file: Path, tmp_path: Path, use: Use) -> None:
    """Blobs of another registry are not touched."""
    use(tmp_path / "other", None)
    done("user", "add", "somebody")
    (tmp_path / "other" / "entrepot.db").unlink()
    assert "belongs to another registry" in refused("restore", str(file))


@places.only_on("sqlite", "of files' owners")
@pytest.mark.usefixtures("full")
def test_other_users_are_refused(file: Path) -> None:
    """What another user's server could not write is not made."""
    outcome = entrepot("restore", str(file), uid=12345)
    assert outcome.status == 1
    assert "belongs to the system user" in outcome.stderr


def test_damage_comes_along_by_name(full: Full, tmp_path: Path, use: Use) -> None:
    """What the backup lacks is told and not served, status 1; the next push of it repairs the registry."""
    places.look_into(full.folder).remove(key_of(full, SHARED.content))
    file = tmp_path / "backup.tar"
    assert entrepot("backup", str(file)).status == 1
    use(tmp_path / "other", None)
    outcome = entrepot("restore", str(file))
    assert outcome.status == 1
    assert outcome.stdout.splitlines()[1].split() == ["not", "in", "the", "backup", str(SHARED.digest)]
    assert outcome.stdout.endswith("3 blobs of 1.1 MiB; 1 blob missing\n")
    assert entrepot("check").status == 1

    async def repair(registry: Registry) -> list[str]:
        await Client(registry).push_blob("demo/app", SHARED)
        return await Client(registry).check()

    assert inside(tmp_path / "other", repair) == []


@pytest.mark.usefixtures("full")
def test_changed_bytes_are_not_taken(file: Path, tmp_path: Path, use: Use) -> None:
    """A blob whose bytes changed in the file is missing, not damaged."""
    with tarfile.open(file) as archive:
        member = archive.getmember(f"blobs/sha256/{LARGE.digest.encoded}")
    with file.open("r+b") as stream:
        stream.seek(member.offset_data + 1000)
        stream.write(b"X")
    use(tmp_path / "other", None)
    outcome = entrepot("restore", str(file), "--json")
    assert outcome.status == 1
    assert json.loads(outcome.stdout)["missing"] == [{"digest": str(LARGE.digest), "problem": "changed"}]
    assert len(places.look_into(tmp_path / "other").blobs()) == 3


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_one_that_was_cut_off(file: Path, tmp_path: Path, use: Use, share: float) -> None:
    """It makes no registry, unless that is asked for; with the whole file it goes on."""
    use(tmp_path / "other", None)
    short = tmp_path / "short.tar"
    content = file.read_bytes()
    end = content.rindex(b"end.json")
    short.write_bytes(content[: int(end * share)])
    assert "the backup was cut off" in refused("restore", str(short))
    assert "there is no registry" in refused("check")
    done("restore", str(file))
    assert done("check") == "4 blobs: all are there\n"
    use(tmp_path / "partial", None)
    assert entrepot("restore", str(short), "--partial").status == 1
    assert "4 blobs: " in entrepot("check").stdout


def test_one_that_goes_on_reads_what_is_there(file: Path, tmp_path: Path, use: Use) -> None:
    """What an earlier try has stored is hashed again, and replaced when it is not right."""
    use(tmp_path / "other", None)
    short = tmp_path / "short.tar"
    content = file.read_bytes()
    short.write_bytes(content[: content.rindex(b"end.json")])
    refused("restore", str(short))
    stored = places.look_into(tmp_path / "other")
    keys = {stored.read(key): key for key in stored.blobs()}
    stored.write(keys[LARGE.content], b"L" + LARGE.content[1:])
    done("restore", str(file))
    assert done("scrub").endswith("all are whole\n")
    assert sorted(stored.blobs()) == sorted(keys.values())


class TestStoresInUse:
    """A store that belongs to a registry stays its own."""

    @pytest.fixture
    def borrow(self, full: Full, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Have commands use the full registry's blobs with a database of their own."""

        def choose() -> None:
            for name, value in places.environment(full.folder).items():
                if name.startswith(("ENTREPOT_STORAGE", "ENTREPOT_S3")):
                    monkeypatch.setenv(name, value)
            if not places.make_config(full.folder).bucket:
                (tmp_path / "other").mkdir(exist_ok=True)
                if not (tmp_path / "other" / "blobs").exists():
                    (tmp_path / "other" / "blobs").symlink_to(full.folder / "blobs")

        return choose

    def test_the_living_registrys_own(
        self, full: Full, file: Path, tmp_path: Path, use: Use, borrow: Callable[[], None]
    ) -> None:
        """A backup does not come back beside its registry: each would remove what only the other one knows."""
        use(tmp_path / "other", None)
        borrow()
        assert "give another ENTREPOT_STORAGE, or an empty prefix" in refused("restore", str(file))
        assert "give another ENTREPOT_STORAGE" in refused("restore", str(file)), "it is no restore to go on with"
        assert "there is no registry" in refused("check")
        use(full.folder, None)
        assert done("check") == "4 blobs: all are there\n"

    @places.only_on("s3", "of places with names")
    def test_after_a_beginning_elsewhere(
        self, file: Path, tmp_path: Path, use: Use, borrow: Callable[[], None]
    ) -> None:
        """A restore that was cut off goes on where it began, and in no other store."""
        use(tmp_path / "other", None)
        short = tmp_path / "short.tar"
        short.write_bytes(file.read_bytes()[:-2048])
        refused("restore", str(short))
        borrow()
        assert "give another ENTREPOT_STORAGE" in refused("restore", str(file))
        use(tmp_path / "other", None)
        done("restore", str(file))

    def test_a_half_restored_one(self, file: Path, tmp_path: Path, use: Use) -> None:
        """What one database has begun to restore, another one does not go on with."""
        use(tmp_path / "other", None)
        content = file.read_bytes()
        short = tmp_path / "short.tar"
        short.write_bytes(content[: content.rindex(b"end.json")])
        refused("restore", str(short))

        async def forget() -> None:
            database = places.open_database(tmp_path / "other")
            try:
                await database.write(moves.end_restore)
            finally:
                database.close()

        asyncio.run(forget())
        assert "or of a restore of it that another database began" in refused("restore", str(file))


def test_a_terminal_sees_progress(file: Path, tmp_path: Path) -> None:
    """On a terminal a bar shows how many bytes are back."""
    with Terminal("restore", str(file), **places.environment(tmp_path / "other")) as terminal:
        assert terminal.wait() == 0
    assert "Restoring blobs" in terminal.text

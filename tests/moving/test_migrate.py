"""`entrepot migrate`."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest

from registry import stores
from registry.app import Registry
from registry.metadata import blobs, moves, schema
from registry.metadata.blobs import StoredBlob
from registry.metadata.database import Transaction
from registry.metadata.gate import Moved
from registry.moving.migration import CannotMigrate, take_back
from storage.digest import Digest
from tests import places
from tests.api.running import RunningServer, running
from tests.cli.access import done, refused
from tests.cli.running import PROGRAM, Terminal, entrepot
from tests.moving.full import LARGE, PASSWORD, SHARED, Full, read_everything, read_lines
from tests.moving.moved import migrate, side
from tests.moving.test_backup import key_of
from tests.places import Place
from tests.scenarios.client import Client, open_registry
from tests.scenarios.images import make_blob

T = TypeVar("T")
Use: TypeAlias = Callable[[Path, Place | None], None]


def write_config(folder: Path, place: Place | None = None) -> Path:
    """The file of settings of a server on that folder."""
    folder.mkdir(exist_ok=True)
    settings = (place or places.place_under_test()).settings(folder)
    file = folder / "entrepot.toml"
    file.write_text("".join(f"{name} = {json.dumps(str(value))}\n" for name, value in settings.items()))
    return file


def inside(folder: Path, work: Callable[[Registry], Coroutine[Any, Any, T]], place: Place | None = None) -> T:
    """What `work` returns with the registry in the folder, which is started there."""

    async def run() -> T:
        registry = await open_registry(folder, place)
        try:
            return await work(registry)
        finally:
            registry.close()

    return asyncio.run(run())


@pytest.mark.parametrize("target", places.EVERYWHERE, ids=str)
def test_any_place_to_any_other(full: Full, tmp_path: Path, use: Use, target: Place) -> None:
    """Each row, the keys that sign among them, and each byte is there; pushes go on there, and no longer here."""
    before = inside(full.folder, read_lines)
    text = done("migrate", "--to-config", str(write_config(tmp_path / "new", target)))
    assert text.startswith("Moved to ")
    assert ": 4 blobs of 1.1 MiB copied; pushes waited for " in text
    assert "the registry moves, or has moved, to" in refused("repository", "create", "late")
    assert "demo/app" in done("repository", "list"), "reads go on"
    use(tmp_path / "new", target)
    assert inside(tmp_path / "new", read_lines, target) == before
    assert done("check") == "4 blobs: all are there\n"
    assert done("scrub").endswith("all are whole\n")

    async def look(registry: Registry) -> None:
        await read_everything(registry, full)
        await Client(registry).push_blob("demo/new", make_blob("new"))

    inside(tmp_path / "new", look, target)


def test_a_server_serves_all_the_time(full: Full, tmp_path: Path) -> None:
    """A server goes on with pulls; its pushes get 503 with Retry-After when all is moved; it stays ready."""
    with running(full.folder) as server:
        done("migrate", "--to-config", str(write_config(tmp_path / "new")))
        assert curl(server, "/v2/demo/app/manifests/1") == (200, {})
        status, headers = curl(server, "/v2/demo/app/blobs/uploads/", "-X", "POST")
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert curl(server, "/readyz") == (200, {})


def curl(server: RunningServer, path: str, *options: str) -> tuple[int, dict[str, str]]:
    """The status, and Retry-After if there is one."""
    url = f"http://127.0.0.1:{server.port}{path}"
    ended = subprocess.run(
        ["curl", "-s", "-o", os.devnull, "-D", "-", "-u", f"alice:{PASSWORD}", *options, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    status, *lines = ended.stdout.strip().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return int(status.split()[1]), {name: value for name, value in headers.items() if name == "retry-after"}


@pytest.mark.usefixtures("full")
def test_a_server_on_the_old_place_says_where_it_went(tmp_path: Path) -> None:
    """It does not start, because it could serve nobody who logs in; the new place is named, without its password."""
    done("migrate", "--to-config", str(write_config(tmp_path / "new")))
    ended = subprocess.run(
        [PROGRAM, "serve", "--port", "0"], env=os.environ, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    place = ", ".join(stores.name_places(places.make_config(tmp_path / "new")))
    assert f"the registry moves, or has moved, to {place}.\n" in ended.stderr.decode()


@pytest.mark.usefixtures("full")
def test_an_abort(tmp_path: Path) -> None:
    """The registry serves where it was; where it had not moved, that is said."""
    assert "had not moved" in done("migrate", "--abort")
    done("migrate", "--to-config", str(write_config(tmp_path / "new")))
    assert done("migrate", "--abort") == "The registry is here again\n"
    done("repository", "create", "late")


@pytest.mark.usefixtures("full")
def test_again(tmp_path: Path) -> None:
    """A second time there is nothing to do; after an abort the target is in the way, and that is said."""
    file = write_config(tmp_path / "new")
    done("migrate", "--to-config", str(file))
    assert done("migrate", "--to-config", str(file)).endswith("already\n")
    done("migrate", "--abort")
    assert "an earlier try has left it there" in refused("migrate", "--to-config", str(file))


def test_damage_is_not_carried_over_unseen(full: Full, tmp_path: Path, use: Use) -> None:
    """A damaged blob stops it before the end, unless it is accepted; there it is missing by name."""
    stored = places.look_into(full.folder)
    stored.write(key_of(full, LARGE.content), b"L" + LARGE.content[1:])
    file = write_config(tmp_path / "new")
    assert f"1 blobs are damaged, the first is {LARGE.digest}" in refused("migrate", "--to-config", str(file))
    done("repository", "create", "still-here")
    outcome = entrepot("migrate", "--to-config", str(file), "--accept-damage")
    assert outcome.status == 1
    assert outcome.stdout.splitlines()[1].split() == ["changed", str(LARGE.digest)]
    assert "3 blobs had been copied before" in outcome.stdout
    use(tmp_path / "new", None)
    assert entrepot("check").status == 1
    inside(tmp_path / "new", lambda registry: Client(registry).push_blob("demo/app", LARGE))
    assert done("check") == "4 blobs: all are there\n"


@places.only_on("sqlite", "of embedded databases")
@places.only_on("files", "of files")
def test_only_the_storage(full: Full, tmp_path: Path) -> None:
    """The blobs alone can move: servers with the new storage write, those with the old one do not."""
    storage = f"file://{tmp_path}/elsewhere"
    done("migrate", "--to-storage", storage)
    assert "the registry moves, or has moved" in refused("repository", "create", "late")
    assert done("migrate", "--to-storage", storage).endswith("already\n")

    async def push(registry: Registry) -> list[str]:
        await Client(registry).push_blob("demo/app", make_blob("new"))
        return await Client(registry).check()

    async def run() -> list[str]:
        registry = await open_registry(full.folder, storage=storage)
        try:
            return await push(registry)
        finally:
            registry.close()

    assert asyncio.run(run()) == []


@places.only_on("sqlite", "of embedded databases")
@places.only_on("files", "of files")
def test_only_the_database(full: Full, tmp_path: Path) -> None:
    """The rows alone can move: the blobs stay where they are."""
    database = f"sqlite:///{tmp_path}/moved.db"
    text = done("migrate", "--to-database", database)
    assert "0 blobs" in text

    async def run() -> list[str]:
        registry = await open_registry(full.folder, database=database)
        try:
            await read_everything(registry, full)
            return await Client(registry).check()
        finally:
            registry.close()

    assert asyncio.run(run()) == []


@pytest.mark.usefixtures("full")
def test_wrong_usage(tmp_path: Path) -> None:
    """What is missing or too much is said; a place that is none is refused, and so is the one where it is."""
    assert entrepot("migrate").status == 2
    assert entrepot("migrate", "--to-config", "x", "--to-database", "y").status == 2
    assert "--to-database must be sqlite:////" in refused("migrate", "--to-database", "nowhere")
    storage = stores.name_places(places.make_config(tmp_path / "full"))[1]
    if storage.startswith("/"):
        assert "is there already" in refused("migrate", "--to-storage", f"file://{storage}")


def test_no_registry(tmp_path: Path, use: Use) -> None:
    """Where none is, none can move."""
    use(tmp_path / "nothing", None)
    assert "there is no registry" in refused("migrate", "--to-config", str(write_config(tmp_path / "new")))


def test_not_over_another_registry(full: Full, tmp_path: Path, use: Use) -> None:
    """A registry in the target is not touched."""
    use(tmp_path / "new", None)
    done("user", "add", "somebody")
    use(full.folder, None)
    assert "already: name an empty database" in refused("migrate", "--to-config", str(write_config(tmp_path / "new")))
    done("repository", "create", "still-here")


def test_a_terminal_sees_progress(full: Full, tmp_path: Path) -> None:
    """On a terminal a bar shows what is copied."""
    file = write_config(tmp_path / "new")
    with Terminal("migrate", "--to-config", str(file), **places.environment(full.folder)) as terminal:
        assert terminal.wait() == 0
    assert "Copying blobs" in terminal.text
    assert "Moved to " in terminal.text


@pytest.mark.anyio
class TestPhases:
    """What happens in which order."""

    async def test_what_is_pushed_meanwhile_comes_along(self, source: Registry, target: Registry) -> None:
        """Blobs and rows that come while the blobs are copied are there; a push at the end is refused."""
        late = make_blob("late")
        pushed: list[Digest] = []
        tasks: list[asyncio.Task[Any]] = []

        def tell(what: str, _size: int) -> None:
            if what == "Copying blobs" and not pushed:  # by another server, while the migration waits for it
                with ThreadPoolExecutor(1) as thread:
                    push = partial(inside, source.config.data, lambda other: Client(other).push_blob("demo/late", late))
                    pushed.append(thread.submit(push).result())
            if what == "Copying rows":
                tasks.append(asyncio.create_task(Client(source).push_blob("demo/later", make_blob("later"))))

        await migrate(source, target, tell)
        assert pushed == [late.digest]
        with pytest.raises(Moved):
            await tasks[0]
        await target.join()
        assert await Client(target).read_blob("demo/late", late) == late.content
        assert await Client(target).check() == []

    async def test_nothing_is_collected_meanwhile(self, source: Registry, target: Registry) -> None:
        """The collector of the source waits until the end."""
        steps: list[asyncio.Task[Any]] = []
        await migrate(
            source,
            target,
            lambda _what, _size: steps.append(asyncio.create_task(source.garbage.step(ignores_rest=True))),
        )
        assert all(step.held_until for step in await asyncio.gather(*steps))

    async def test_a_failure_at_the_end_takes_the_mark_away(self, source: Registry, target: Registry) -> None:
        """When the target fails after the mark, pushes go on here; the next try goes on where the first one stopped."""

        def fail(what: str, _size: int) -> None:
            if what == "Copying rows":
                raise ConnectionError("the target is gone")

        with pytest.raises(ConnectionError):
            await migrate(source, target, fail)
        await Client(source).push_blob("demo/app", make_blob("still here"))
        migrated = await migrate(source, target)
        assert (migrated.blobs, migrated.known_blobs) == (1, 4)

    async def test_one_that_was_killed_goes_on(self, source: Registry, target: Registry) -> None:
        """A mark without an end: the registry refuses writes, and the same command finishes what was begun."""
        place = side(target).place
        await source.database.write(lambda tx: moves.begin(tx, place))
        with pytest.raises(Moved):
            await Client(source).push_blob("demo/app", make_blob("refused"))
        await migrate(source, target)
        await target.join()
        assert await Client(target).check() == []

    async def test_a_push_that_is_under_way_is_whole_or_refused(self, source: Registry, target: Registry) -> None:
        """Many pushes run into the end: whoever was told 201 finds the blob in the new place, nobody else."""
        client = Client(source)
        pushed: list[str] = []

        async def push(number: int) -> None:
            blob = make_blob(f"number {number}")
            await client.push_blob("demo/many", blob)
            pushed.append(str(blob.digest))

        pushes = [asyncio.create_task(push(number)) for number in range(100)]
        await migrate(source, target)
        ended = await asyncio.gather(*pushes, return_exceptions=True)
        assert all(problem is None or isinstance(problem, Moved) for problem in ended)
        await target.join()
        there = {str(blob.digest) for blob in await every_blob(target)}
        assert {digest for digest in pushed if digest not in there} == set()
        assert await Client(target).check() == []

    async def test_the_collector_rests_there(self, source: Registry, target: Registry) -> None:
        """Leases that servers had only noted stayed behind: nothing is collected in the new place for a while."""
        await migrate(source, target)
        await target.join()
        await target.garbage.begin_serving()
        assert (await target.garbage.step()).rests_until is not None

    async def test_back_again(self, source: Registry, target: Registry) -> None:
        """After an abort the old place takes pushes."""
        await migrate(source, target)
        assert await take_back(source.database) == side(target).place
        await Client(source).push_blob("demo/app", SHARED)

    @places.only_on("sqlite", "of triggers")
    async def test_a_target_that_changes_rows(self, source: Registry, target: Registry) -> None:
        """What is read back is compared before it counts: rows that came otherwise stay outside, and pushes go on."""
        await target.database.write(_spoil)
        with pytest.raises(CannotMigrate, match="does not give back the rows"):
            await migrate(source, target)
        await Client(source).push_blob("demo/app", make_blob("still here"))


def _spoil(tx: Transaction) -> None:
    """Somebody has put a rule of their own into the target."""
    schema.migrate(tx)
    tx.run("CREATE TRIGGER spoil AFTER INSERT ON pull BEGIN UPDATE pull SET at = at + 1; END")


async def every_blob(registry: Registry) -> list[StoredBlob]:
    return await registry.database.read(lambda tx: blobs.list_stored(tx, "", 1000))

"""`entrepot garbage`."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from registry.access.grants import EVERYTHING, Permission
from registry.app import Registry
from registry.identity import Clock, milliseconds_now
from registry.manifests import ManifestPush
from registry.oci.names import RepositoryName, Tag
from registry.oci.preconditions import NO_PRECONDITIONS
from registry.uploads import Chunk
from storage.digest import Digest
from tests.cli.access import audited
from tests.cli.content import BOB, CONFIG, IMAGE, LAYER, SteppingClock
from tests.cli.running import Outcome, Terminal, entrepot, program
from tests.places import look_into, make_config, only_on

T = TypeVar("T")

DAY = 24 * 3_600_000  # milliseconds
APP, SECRET = RepositoryName("demo/app"), RepositoryName("demo/secret")
PASSWORDS = b"passwords" * 1000
EVERYONE_MAY = Permission((EVERYTHING,))
ABSENT = f"sha256:{'0' * 64}"


class Kept:
    """A registry that was filled long ago: demo/app:1 of config and layer, demo/secret:1 of config and passwords."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.clock = SteppingClock()
        self.app = self.do(lambda registry: push(registry, APP, LAYER), is_new=True)
        self.secret = self.do(lambda registry: push(registry, SECRET, PASSWORDS))
        self.clock.now += 30 * DAY
        self.do(lambda registry: registry.garbage.collect(lambda _step: None, waits=False))  # what the pushes left

    def do(self, work: Callable[[Registry], Awaitable[T]], *, clock: Clock | None = None, is_new: bool = False) -> T:
        """Something by the registry's own rules: at an instant of long ago, unless there is another clock."""

        async def run() -> T:
            registry = Registry(make_config(self.data, undelete_days=0), clock=clock or self.clock)
            try:
                assert await (registry.start() if is_new else registry.join()) in {None, True}
                return await work(registry)
            finally:
                registry.close()

        return asyncio.run(run())

    def delete(self, digest: Digest, name: RepositoryName = SECRET) -> None:
        """Delete a manifest now."""
        self.do(
            lambda registry: registry.manifests.delete(name, digest, NO_PRECONDITIONS, BOB, EVERYONE_MAY),
            clock=milliseconds_now,
        )

    def files(self) -> set[bytes]:
        """What the store holds."""
        stored = look_into(self.data)
        return {stored.read(key) for key in stored.blobs()}


@pytest.fixture
def kept(data: Path) -> Kept:
    return Kept(data)


@pytest.fixture
def _no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_UNDELETE_DAYS", "0")


async def push(registry: Registry, name: RepositoryName, layer: bytes) -> Digest:
    for content in (CONFIG, layer):
        await registry.uploads.push(name, Digest.of(content), Chunk(one(content)), BOB)
    described = [
        {"mediaType": "application/x", "digest": str(Digest.of(each)), "size": len(each)} for each in (CONFIG, layer)
    ]
    content = json.dumps(
        {"schemaVersion": 2, "mediaType": IMAGE, "config": described[0], "layers": described[1:]}
    ).encode()
    manifest = await registry.manifests.put(ManifestPush(name, Tag("1"), IMAGE, content), BOB, EVERYONE_MAY)
    return manifest.digest


async def one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def words(text: str) -> list[str]:
    """Each line with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


def shown(outcome: Outcome) -> list[str]:
    """What a command that was done printed."""
    assert (outcome.status, outcome.stderr) == (0, "")
    return words(outcome.stdout)


@pytest.mark.usefixtures("kept")
def test_what_is_used_is_not_collected() -> None:
    """Content that tags lead to is neither removed nor waited for."""
    assert shown(entrepot("garbage", "collect", "--dry-run")) == ["nothing is to be removed, now or later"]
    assert shown(entrepot("garbage", "collect")) == ["nothing removed"]


def test_what_is_deleted_waits_for_its_window(kept: Kept) -> None:
    """Both the rehearsal and the summary say until when and why; nothing is removed."""
    kept.delete(kept.secret)
    rehearsal = shown(entrepot("garbage", "collect", "--dry-run"))
    assert rehearsal[0] == "KIND REPOSITORY DIGEST AT SIZE WHY"
    assert rehearsal[1].startswith(f"manifest demo/secret {kept.secret} 20")
    assert rehearsal[1].endswith("is deleted, and can come back until then")
    assert rehearsal[2:] == ["1 would go if nothing changes"]
    lines = shown(entrepot("garbage", "collect"))
    assert lines[0] == "WAITING FROM WHY"
    assert lines[1].startswith("1 manifest 20")
    assert lines[1].endswith("Z is deleted, and can come back until then")
    assert lines[2:] == ["nothing removed; 1 waiting"]
    assert PASSWORDS in kept.files()


@pytest.mark.usefixtures("_no_window")
def test_what_is_deleted_is_collected_with_its_bytes(kept: Kept) -> None:
    """Without a window it goes at once, but for what others share; the bytes that came free are told."""
    kept.do(lambda registry: registry.repositories.delete(SECRET, BOB))
    assert shown(entrepot("garbage", "collect"))[-1] == "1 manifest, 1 blob, 1 repository removed, 8.8 KiB freed"
    assert kept.files() == {CONFIG, LAYER}
    assert shown(entrepot("garbage", "collect")) == ["nothing removed"]


@pytest.mark.usefixtures("_no_window")
def test_json_counts_what_was_collected(kept: Kept) -> None:
    """The document has counts, bytes, and what waits with the instant from which it does not any more."""
    kept.do(lambda registry: registry.repositories.delete(SECRET, BOB), clock=milliseconds_now)
    document = json.loads(entrepot("garbage", "collect", "--json").stdout)
    (waiting,) = document.pop("waiting")
    assert document == {
        "manifests": 1,
        "blobs": 1,
        "uploads": 0,
        "repositories": 0,
        "bytes": len(PASSWORDS),
        "failed": 0,
        "rests_until": None,
    }
    assert (waiting["kind"], waiting["count"]) == ("repository", 1)


def test_a_rehearsal_as_json(kept: Kept) -> None:
    """Each that would go is an object with digest, bytes and instant."""
    kept.delete(kept.secret)
    (due,) = json.loads(entrepot("garbage", "collect", "--dry-run", "--json").stdout)["due"]
    assert (due["kind"], due["repository"], due["digest"]) == ("manifest", "demo/secret", str(kept.secret))
    assert due["at"].endswith("Z")
    assert due["bytes"] > 0


@only_on("sqlite", "one server at a time: where there are several, tests/replicas has it")
def test_the_collector_rests_after_a_server_that_was_killed(kept: Kept) -> None:
    """It does nothing and says until when, status 1; --now goes ahead."""

    async def serve_and_die(registry: Registry) -> None:
        for _ in range(2):
            await registry.garbage.begin_serving()

    kept.do(serve_and_die, clock=milliseconds_now)
    outcome = entrepot("garbage", "collect")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("entrepot: the collector rests until 20")
    assert "--now goes ahead" in outcome.stderr
    outcome = entrepot("garbage", "collect", "--json")
    assert outcome.status == 1
    assert json.loads(outcome.stdout)["rests_until"] is not None
    assert shown(entrepot("garbage", "collect", "--now")) == ["nothing removed"]


@only_on("files", "a folder stands where a blob's file was")
@pytest.mark.usefixtures("_no_window")
def test_bytes_that_cannot_be_removed_are_put_off(kept: Kept) -> None:
    """The rest goes, the status is 1, and standard output still is one document."""
    kept.do(lambda registry: registry.repositories.delete(SECRET, BOB))
    files = [path for path in (kept.data / "blobs" / "data").rglob("*") if path.is_file()]
    (path,) = [path for path in files if path.read_bytes() == PASSWORDS]
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    outcome = program("garbage", "collect", "--json", ENTREPOT_DATA=str(kept.data), ENTREPOT_UNDELETE_DAYS="0")
    assert outcome.status == 1
    document = json.loads(outcome.stdout)
    assert (document["blobs"], document["failed"]) == (1, 1)
    assert "bytes not removed" in outcome.stderr


def test_a_terminal_sees_progress(kept: Kept) -> None:
    """On a terminal a line says that it works."""
    with Terminal("garbage", "collect", ENTREPOT_DATA=str(kept.data)) as terminal:
        assert terminal.wait() == 0
    assert "Collecting" in terminal.text
    assert terminal.text.endswith("nothing removed\n")


def test_explain_says_what_uses_it(kept: Kept) -> None:
    """A manifest by its tag, a blob by its manifests, in each repository that has it."""
    assert shown(entrepot("garbage", "explain", str(kept.secret))) == [
        "demo/secret: the manifest is there, and nobody has deleted it",
        "used by tag 1",
    ]
    assert shown(entrepot("garbage", "explain", str(Digest.of(CONFIG)))) == [
        f"demo/app: the blob is part of {kept.app}",
        f"used by manifest {kept.app}",
        f"demo/secret: the blob is part of {kept.secret}",
        f"used by manifest {kept.secret}",
    ]


def test_explain_says_when_it_goes(kept: Kept) -> None:
    """What is deleted has the instant until which it can come back; as JSON, too."""
    kept.delete(kept.secret)
    (line,) = shown(entrepot("garbage", "explain", str(kept.secret)))
    assert line.startswith("demo/secret: the manifest is deleted, and can come back until then (20")
    document = json.loads(entrepot("garbage", "explain", str(kept.secret), "--json").stdout)
    assert document["digest"] == str(kept.secret)
    (fact,) = document["facts"]
    assert (fact["repository"], fact["kind"], fact["used_by"]) == ("demo/secret", "manifest", [])
    assert fact["at"].startswith("20")


@pytest.mark.usefixtures("kept")
def test_explain_of_what_is_not_here() -> None:
    """Status 1 and one line; what is no digest is wrong usage."""
    outcome = entrepot("garbage", "explain", ABSENT)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == f"entrepot: nothing here has the digest {ABSENT}: it was never here, or is gone for good\n"
    assert entrepot("garbage", "explain", "latest").status == 2


def test_purge_ends_the_window_of_a_secret(kept: Kept) -> None:
    """A deleted manifest goes with the blobs that only it needs, at once, and the audit log says who did it."""
    kept.delete(kept.secret)
    assert shown(entrepot("garbage", "purge", str(kept.secret), "--yes")) == [
        "1 manifest, 1 blob removed, 8.8 KiB freed"
    ]
    assert kept.files() == {CONFIG, LAYER}
    (line,) = audited("--action", "garbage.purge")
    assert (line["repository"], line["digest"]) == ("demo/secret", str(kept.secret))
    assert line["actor"].startswith("cli:")
    outcome = entrepot("garbage", "purge", str(kept.secret), "--yes")
    assert outcome.status == 1
    assert "nothing here has the digest" in outcome.stderr


def test_purge_refuses_what_is_used(kept: Kept) -> None:
    """It names the repository of a manifest that nobody deleted, and the manifest that needs a blob."""
    outcome = entrepot("garbage", "purge", str(kept.app), "--yes")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "is not deleted: it is in demo/app" in outcome.stderr
    outcome = entrepot("garbage", "purge", str(Digest.of(PASSWORDS)), "--yes")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert f"is still used in demo/secret: it is part of {kept.secret}" in outcome.stderr
    assert kept.files() == {CONFIG, LAYER, PASSWORDS}


def test_purge_of_a_repository(kept: Kept) -> None:
    """What is deleted in it goes, or all of it when the repository is deleted."""
    kept.delete(kept.secret)
    lines = shown(entrepot("garbage", "purge", "--repository", "demo/secret", "--yes"))
    assert lines == ["1 manifest, 1 blob removed, 8.8 KiB freed"]
    kept.do(lambda registry: registry.repositories.delete(APP, BOB), clock=milliseconds_now)
    document = json.loads(entrepot("garbage", "purge", "--repository", "demo/app", "--yes", "--json").stdout)
    assert (document["manifests"], document["bytes"], document["kept"]) == (1, len(CONFIG + LAYER), 0)
    assert kept.files() == set()
    outcome = entrepot("garbage", "purge", "--repository", "demo/none", "--yes")
    assert (outcome.status, outcome.stderr) == (1, "entrepot: there is no repository demo/none\n")


def test_purge_of_content_in_a_deleted_repository(kept: Kept) -> None:
    """A secret in a repository that is deleted as a whole can be purged by its digest; what else is there stays."""
    other = kept.do(lambda registry: push(registry, SECRET, LAYER))
    kept.do(lambda registry: registry.repositories.delete(SECRET, BOB), clock=milliseconds_now)
    assert shown(entrepot("garbage", "purge", str(kept.secret), "--yes")) == [
        "1 manifest, 1 blob removed, 8.8 KiB freed"
    ]
    assert kept.files() == {CONFIG, LAYER}
    assert f"part of {other}" in entrepot("garbage", "purge", str(Digest.of(CONFIG)), "--yes").stderr


def test_every_purge_is_audited(kept: Kept) -> None:
    """Of a blob that nothing names, and of a whole repository, too."""
    blob = b"left by a push"
    kept.do(lambda registry: registry.uploads.push(APP, Digest.of(blob), Chunk(one(blob)), BOB), clock=milliseconds_now)
    kept.do(lambda registry: registry.repositories.delete(SECRET, BOB), clock=milliseconds_now)
    assert entrepot("garbage", "purge", str(Digest.of(blob)), "--yes").status == 0
    assert entrepot("garbage", "purge", "--repository", "demo/secret", "--yes").status == 0
    lines = audited("--action", "garbage.purge")
    assert [(line["repository"], line.get("digest")) for line in lines] == [
        ("demo/app", str(Digest.of(blob))),
        ("demo/secret", None),
    ]


@pytest.mark.usefixtures("kept")
def test_purge_of_an_unknown_run() -> None:
    """It says where the runs are listed."""
    outcome = entrepot("garbage", "purge", "--run", "7", "--yes")
    assert outcome.status == 1
    assert "there is no run 7" in outcome.stderr


@pytest.mark.parametrize("arguments", [(), (ABSENT, "--run", "7"), ("--run", "7", "--repository", "demo/app")])
def test_purge_wants_one_thing(arguments: tuple[str, ...]) -> None:
    """None and several are wrong usage."""
    outcome = entrepot("garbage", "purge", *arguments, "--yes")
    assert outcome.status == 2
    assert "one of DIGEST, --repository NAME and --run ID" in " ".join(outcome.stderr.replace("│", " ").split())


def test_purge_wants_to_be_confirmed(kept: Kept) -> None:
    """Without a terminal and without --yes nothing goes."""
    kept.delete(kept.secret)
    outcome = program("garbage", "purge", "--repository", "demo/secret", ENTREPOT_DATA=str(kept.data))
    assert outcome.status == 1
    assert outcome.stderr == (
        "entrepot: nobody is here to confirm that all that is deleted in demo/secret shall be gone for good:"
        " say --yes\n"
    )
    assert PASSWORDS in kept.files()


@pytest.mark.parametrize(("answer", "status", "is_gone"), [("y", 0, True), ("n", 1, False)])
def test_purge_asks_at_a_terminal(kept: Kept, answer: str, status: int, is_gone: bool) -> None:
    """The question names the repositories, and only yes means yes."""
    kept.delete(kept.secret)
    with Terminal("garbage", "purge", str(kept.secret), ENTREPOT_DATA=str(kept.data)) as terminal:
        terminal.expect("demo/secret, for good? [y/N]")
        terminal.answer(answer)
        assert terminal.wait() == status
    assert (PASSWORDS not in kept.files()) == is_gone


def test_one_interrupt_aborts_the_question(kept: Kept) -> None:
    """Ctrl+C ends the command with plain text, and nothing goes."""
    kept.delete(kept.secret)
    with Terminal("garbage", "purge", "--repository", "demo/secret", ENTREPOT_DATA=str(kept.data)) as terminal:
        terminal.expect("[y/N]: ")
        terminal.interrupt()
        assert terminal.wait() == 1
    assert terminal.text.partition("[y/N]: ")[2] == "\nentrepot: aborted, nothing is purged\n"
    assert PASSWORDS in kept.files()


@only_on("sqlite", "its file has an owner, and a folder")
@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("arguments", [("collect",), ("purge", ABSENT), ("purge", "--run", "1", "--yes")])
def test_another_user_may_only_look(arguments: tuple[str, ...]) -> None:
    """Whoever does not own the database is told as whom to run the command; to explain and rehearse needs no right."""
    stranger = os.geteuid() + 1
    outcome = entrepot("garbage", *arguments, uid=stranger)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "belongs to the system user" in outcome.stderr
    assert entrepot("garbage", "collect", "--dry-run", uid=stranger).status == 0
    assert entrepot("garbage", "explain", str(Digest.of(CONFIG)), uid=stranger).status == 0

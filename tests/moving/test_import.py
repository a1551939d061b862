"""`entrepot import`."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from registry.app import Registry
from registry.identity import Actor
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest
from storage.linking import link_blob
from tests import places
from tests.cli.access import done, refused
from tests.cli.running import Terminal, entrepot, program
from tests.moving.imports import (
    CONFIG,
    FALLBACK,
    IMAGE,
    INDEX,
    LAYER,
    OLD,
    OTHER,
    SIGNATURE,
    Use,
    imported,
    inside,
    list_referrers,
    manifests_of,
    own_settings,
    tags_of,
    tree,
)
from tests.moving.trees import START, Distribution, make_layout
from tests.scenarios.client import Client
from tests.scenarios.images import Content, make_image, make_index

__all__ = ["tree"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, use: Use) -> Path:
    """Of the registry that images are imported into; it is not there yet."""
    use(tmp_path / "registry", None)
    return tmp_path / "registry"


def test_a_registrys_files(tree: Distribution, folder: Path) -> None:
    """Every manifest, tag and blob is here, byte for byte, and the source is untouched."""
    before = tree.snapshot()
    text = done("import", str(tree.path))
    assert text.startswith("Imported 2 repositories: 6 manifests, 6 tags, 3 blobs of 16 B")
    assert tags_of("library/app") == {
        "1": str(OLD.digest),
        "2": str(IMAGE.digest),
        "latest": str(IMAGE.digest),
        "multi": str(INDEX.digest),
        f"{FALLBACK}.sig": tags_of("library/app")[f"{FALLBACK}.sig"],
    }
    assert tags_of("library/app/tools") == {"v1": str(IMAGE.digest)}

    async def look(registry: Registry) -> None:
        client = Client(registry)
        for blob in (CONFIG, LAYER, OTHER):
            assert await client.read_blob("library/app/tools", blob) == blob.content
        found = await registry.manifests.get(RepositoryName("library/app"), Tag("multi"))
        assert (found.content, found.media_type) == (INDEX.content, INDEX.media_type)

    inside(folder, look)
    assert done("check") == "3 blobs: all are there\n"
    assert done("scrub").endswith("all are whole\n")
    assert tree.snapshot() == before


def test_referrers_tags_become_referrers(tree: Distribution, folder: Path) -> None:
    """What a fallback tag lists refers to its subject here; neither the tag nor any of its indexes is here."""
    done("import", str(tree.path))
    assert inside(folder, list_referrers) == [str(SIGNATURE.digest)]
    assert FALLBACK not in tags_of("library/app")
    assert not {str(make_index([]).digest), str(make_index([SIGNATURE]).digest)} & set(manifests_of("library/app"))


@places.only_on("files", "of files on one volume")
def test_files_are_linked(tree: Distribution, folder: Path) -> None:
    """On the same volume no byte is copied, unless that is asked for."""
    assert imported(str(tree.path))["linked"] == 3
    numbers = {path.stat().st_ino for path in (folder / "blobs" / "data").rglob("*") if path.is_file()}
    assert numbers == {tree.file(blob.digest).stat().st_ino for blob in (CONFIG, LAYER, OTHER)}


def test_files_are_copied_when_asked(tree: Distribution) -> None:
    """With --copy whoever changes the source later changes nothing here."""
    assert imported(str(tree.path), "--copy")["linked"] == 0
    tree.file(LAYER.digest).write_bytes(b"LAYER")
    assert done("scrub").endswith("all are whole\n")


@places.only_on("files", "of files on one volume")
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_files_of_others_are_copied(tree: Distribution, mode: int) -> None:
    """A file that others can write to would change here, too: it is copied."""
    tree.file(LAYER.digest).chmod(mode)
    assert imported(str(tree.path))["linked"] == 2
    tree.file(LAYER.digest).write_bytes(b"LAYER")
    assert done("scrub").endswith("all are whole\n")


def test_a_pipe_is_no_manifest(tree: Distribution) -> None:
    """A pipe that nobody writes to is not waited for: it is named, and all else comes."""
    file = tree.file(OLD.digest)
    file.unlink()
    os.mkfifo(file)
    outcome = program("import", str(tree.path), "--json", **own_settings())
    assert outcome.status == 1
    refusals = json.loads(outcome.stdout)["refusals"]
    problems = {each["problem"] for each in refusals if each["reference"] == str(OLD.digest)}
    assert problems >= {"the manifest cannot be read: it is no file"}
    assert tags_of("library/app")["2"] == str(IMAGE.digest)


def test_a_pipe_is_no_link(tree: Distribution) -> None:
    """Nor is one waited for in the place of a file that says where a tag points."""
    link = next(tree.path.rglob("_manifests/tags/1/current/link"))
    link.unlink()
    os.mkfifo(link)
    outcome = program("import", str(tree.path), "--json", **own_settings())
    assert outcome.status == 1
    assert [each for each in json.loads(outcome.stdout)["refusals"] if str(link) in each["problem"]]
    assert tags_of("library/app")["2"] == str(IMAGE.digest)


def test_a_pipe_is_not_linked(tmp_path: Path) -> None:
    """Only a file gets a second name."""
    os.mkfifo(tmp_path / "pipe")
    assert not link_blob(tmp_path / "store", tmp_path / "pipe", "abcdefgh")
    assert not (tmp_path / "store").exists()


@places.only_on("files", "of files on one volume")
def test_the_source_may_go(tree: Distribution) -> None:
    """What was linked stays when the source is deleted."""
    done("import", str(tree.path))
    for blob in (CONFIG, LAYER, OTHER):
        tree.file(blob.digest).unlink()
    assert done("scrub").endswith("all are whole\n")


def test_it_can_be_done_again(tree: Distribution) -> None:
    """The second time nothing comes but what is new in the source, whose tags are followed."""
    done("import", str(tree.path))
    changes = len(done("audit", "--json").splitlines())
    again = imported(str(tree.path))
    assert (again["manifests"], again["tags"], again["blobs"], again["known_manifests"]) == (0, 0, 0, 6)
    assert len(done("audit", "--json").splitlines()) == changes
    new = make_image(CONFIG, (LAYER,), annotations={"note": "new"})
    tree.put_manifest("library/app", new, "latest")
    again = imported(str(tree.path))
    assert (again["manifests"], again["tags"], again["blobs"]) == (1, 1, 0)
    assert tags_of("library/app")["latest"] == str(new.digest)


def test_older_comes_first(tree: Distribution) -> None:
    """Manifests keep their order: the one that was pushed last there is the last one here."""
    youngest = make_image(CONFIG, (), annotations={"note": "youngest"})
    tree.put_manifest("library/app", youngest)
    done("import", str(tree.path))
    lines = [json.loads(line) for line in done("audit", "--json").splitlines()]
    pushed = [line["digest"] for line in lines if line["action"] == "manifest.push"]
    order = [str(each.digest) for each in (OLD, IMAGE, INDEX, SIGNATURE, youngest)]
    assert [digest for digest in pushed if digest in order][: len(order)] in (order, order[::-1])


def test_parts_that_are_younger(tree: Distribution) -> None:
    """A tree whose files were copied without their times: what an index names before it comes has its tags."""
    for link in tree.path.rglob("_manifests/revisions/*/*/link"):
        os.utime(link, (START, START - (INDEX.digest.encoded in link.parts)))
    assert imported(str(tree.path))["tags"] == 6
    assert tags_of("library/app")["1"] == str(OLD.digest)


@pytest.mark.parametrize("below", ["", "docker", "docker/registry", "docker/registry/v2"])
def test_any_directory_above(tree: Distribution, below: str) -> None:
    """The source may be named by the directory that a registry was given, or by one of those in it."""
    assert imported(str(tree.path / below), "--dry-run")["repositories"] == 2


def test_a_rehearsal_changes_nothing(tree: Distribution, folder: Path) -> None:
    """--dry-run counts what would come, and makes no registry."""
    assert done("import", str(tree.path), "--dry-run") == (
        "Would import 2 repositories: 6 manifests, 6 tags, 3 blobs of 16 B\n"
    )
    assert not (folder / "entrepot.db").exists()


def test_names(tree: Distribution) -> None:
    """One repository alone, or all of them below a name."""
    imported(str(tree.path), "--repository", "library/app/tools")
    imported(str(tree.path), "--prefix", "old")
    names = [each["name"] for each in json.loads(done("repository", "list", "--json"))["repositories"]]
    assert names == ["library/app/tools", "old/library/app", "old/library/app/tools"]
    assert "has no repository nowhere" in refused("import", str(tree.path), "--repository", "nowhere")
    assert entrepot("import", str(tree.path), "--repository", "a", "--prefix", "b").status == 2


def test_damage_is_refused_and_the_rest_comes(tree: Distribution) -> None:
    """Bytes that are not those of their digest stay outside, and so does what needs them; all of it is told."""
    tree.file(OTHER.digest).write_bytes(b"OTHER")
    tree.file(OLD.digest).write_bytes(OLD.content + b" ")
    outcome = entrepot("import", str(tree.path), "--json")
    assert outcome.status == 1
    refusals = {(each["reference"], each["problem"]) for each in json.loads(outcome.stdout)["refusals"]}
    assert (str(OTHER.digest), "the blob's bytes have another digest") in refusals
    assert (str(OLD.digest), "the manifest's bytes have another digest") in refusals
    assert any(reference == str(IMAGE.digest) and str(OTHER.digest) in problem for reference, problem in refusals)
    assert any(reference == str(INDEX.digest) for reference, _ in refusals)
    assert list(tags_of("library/app")) == [f"{FALLBACK}.sig"]
    assert done("check").startswith("2 blobs: all are there")


def test_missing_blobs_are_named(tree: Distribution) -> None:
    """Also by a rehearsal: a person sees it before anything is done."""
    tree.file(OTHER.digest).unlink()
    for option in ("--dry-run", "--copy"):
        outcome = entrepot("import", str(tree.path), option)
        assert outcome.status == 1
        assert f"library/app        {OTHER.digest}  the blob is not in the source" in outcome.stdout


def test_deleted_manifests_stay_away(tree: Distribution) -> None:
    """What was deleted in the source and not collected yet is not imported, nor are tags that still point to it."""
    tree.delete_manifest("library/app", INDEX.digest)
    done("import", str(tree.path))
    assert str(INDEX.digest) not in manifests_of("library/app")
    assert "multi" not in tags_of("library/app")


def test_what_is_refused_by_the_rules(tree: Distribution) -> None:
    """Names, tags and manifests that the registry would not take from a client are told, and the rest comes."""
    schema1 = Content("application/json", json.dumps({"schemaVersion": 1, "fsLayers": []}).encode())
    tree.put_manifest("library/app", schema1, "ancient")
    tree.put_manifest("UPPER", IMAGE, "1")
    (tree.root / "repositories" / "library" / "app" / "_manifests" / "tags" / "broken" / "current").mkdir(parents=True)
    (tree.root / "repositories/library/app/_manifests/tags/broken/current/link").write_text("nonsense")
    outcome = entrepot("import", str(tree.path), "--json")
    assert outcome.status == 1
    refusals = {
        each["reference"] or each["repository"]: each["problem"] for each in json.loads(outcome.stdout)["refusals"]
    }
    assert set(refusals) == {str(schema1.digest), "UPPER", "library/app"}
    assert "no link to a digest" in refusals["library/app"]
    assert len(tags_of("library/app")) == 5


def test_nothing_there(tmp_path: Path) -> None:
    """A directory without images is refused before a registry is made; one that is not there is wrong usage."""
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused("import", str(tmp_path / "empty"))
    assert entrepot("import", str(tmp_path / "missing")).status == 2


def test_one_layout(tmp_path: Path) -> None:
    """A layout is a repository with its directory's name, or another one; names in its index are tags."""
    make_layout(
        tmp_path / "app",
        [(IMAGE, "1.0"), (OLD, "docker.io/library/app:0.9"), (INDEX, ""), (make_index([SIGNATURE]), FALLBACK)],
        (CONFIG, LAYER, OTHER, SIGNATURE),
    )
    done("import", str(tmp_path / "app"))
    done("import", str(tmp_path / "app"), "--repository", "library/other")
    for name in ("app", "library/other"):
        assert tags_of(name) == {"0.9": str(OLD.digest), "1.0": str(IMAGE.digest)}
        assert sorted(manifests_of(name)) == sorted(str(each.digest) for each in (IMAGE, OLD, INDEX, SIGNATURE))


def test_several_layouts(tmp_path: Path) -> None:
    """Layouts below a directory are called by their place in it."""
    make_layout(tmp_path / "all" / "team" / "a", [(IMAGE, "1")], (CONFIG, LAYER, OTHER))
    make_layout(tmp_path / "all" / "b", [(OLD, "1")], (CONFIG, LAYER))
    assert imported(str(tmp_path / "all"), "--prefix", "x")["repositories"] == 2
    assert tags_of("x/team/a") == {"1": str(IMAGE.digest)}
    assert tags_of("x/b") == {"1": str(OLD.digest)}
    assert "--repository names one" in refused("import", str(tmp_path / "all"), "--repository", "one")


def test_a_layout_that_is_broken(tmp_path: Path) -> None:
    """What its index says wrongly is told, and the rest comes."""
    make_layout(tmp_path / "app", [(IMAGE, "no tag at all!")], (CONFIG, LAYER, OTHER))
    index = json.loads((tmp_path / "app" / "index.json").read_text())
    index["manifests"] += [{"digest": "sha256:short"}, "text"]
    (tmp_path / "app" / "index.json").write_text(json.dumps(index))
    outcome = entrepot("import", str(tmp_path / "app"), "--json")
    assert outcome.status == 1
    assert len(json.loads(outcome.stdout)["refusals"]) == 3
    assert manifests_of("app") == [str(IMAGE.digest)]


def test_layouts_that_are_nested_too_deep(tmp_path: Path) -> None:
    """What no parser comes to the end of, an index or what a name in one is of, is told, and ends no import."""
    deep = Content(INDEX.media_type, b"[" * 100_000)
    make_layout(tmp_path / "all" / "a", [(IMAGE, "1")], (CONFIG, LAYER, OTHER))
    (tmp_path / "all" / "a" / "index.json").write_bytes(deep.content)
    make_layout(tmp_path / "all" / "b", [(deep, FALLBACK), (OLD, "1")], (CONFIG, LAYER))
    outcome = entrepot("import", str(tmp_path / "all"), "--json")
    assert outcome.status == 1, outcome.stderr
    assert len(json.loads(outcome.stdout)["refusals"]) == 2
    assert tags_of("b") == {"1": str(OLD.digest)}


def test_buildkit_caches(tmp_path: Path) -> None:
    """An index whose children are blobs is imported with them."""
    cache = make_index([CONFIG, LAYER])
    make_layout(tmp_path / "cache", [(cache, "main")], (CONFIG, LAYER))
    done("import", str(tmp_path / "cache"))
    assert tags_of("cache") == {"main": str(cache.digest)}


def test_a_damaged_blob_is_repaired(tree: Distribution, folder: Path) -> None:
    """What is known as damaged here comes again."""
    done("import", str(tree.path), "--copy")
    stored = places.look_into(folder)
    key = next(key for key in stored.blobs() if stored.read(key) == LAYER.content)
    stored.write(key, b"LAYER")
    assert entrepot("scrub").status == 1
    assert imported(str(tree.path))["blobs"] == 1
    assert done("scrub").endswith("all are whole\n")


def test_beside_a_registry_with_the_same_blobs(tree: Distribution, folder: Path) -> None:
    """Blobs that the registry has already are not brought again."""

    async def push(registry: Registry) -> Digest:
        return await Client(registry).push_blob("mine", LAYER)

    inside(folder, push)
    assert imported(str(tree.path))["blobs"] == 2


def test_a_terminal_sees_progress(tree: Distribution, folder: Path) -> None:
    """On a terminal a bar shows how many bytes are imported."""
    with Terminal("import", str(tree.path), **places.environment(folder)) as terminal:
        assert terminal.wait() == 0
    assert "Importing blobs" in terminal.text


def test_a_cancelled_adoption_ends_its_upload(folder: Path) -> None:
    """However often it is cancelled: nobody is left behind to remove the bytes when the registry is closed."""

    async def adopt_and_cancel(registry: Registry) -> None:
        placed = asyncio.Event()

        async def place(key: str) -> bool:
            places.look_into(folder).write(key, b"layer")
            placed.set()
            return await asyncio.Future[bool]()

        adoption = registry.uploads.adopt(RepositoryName("library/app"), LAYER.digest, place, Actor("somebody"))
        task = asyncio.create_task(adoption)
        await placed.wait()
        assert places.look_into(folder).blobs() != []
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert places.look_into(folder).blobs() == []

    inside(folder, adopt_and_cancel)

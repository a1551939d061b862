"""`entrepot check`."""

import json

import pytest

from storage.digest import Digest
from tests.cli.conftest import Filled
from tests.cli.content import LAYER
from tests.cli.running import Terminal, entrepot
from tests.places import only_on

UNKNOWN = "ff" * 16


@pytest.mark.usefixtures("filled")
def test_a_whole_registry_has_no_findings() -> None:
    """Status 0, and how many blobs were looked at."""
    outcome = entrepot("check")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "2 blobs: all are there\n", "")


def test_a_truncated_blob_is_damage(filled: Filled) -> None:
    """The finding names digest and key of the file, status 1."""
    key = layer_key(filled)
    filled.stored.write(key, LAYER[:-1])
    outcome = entrepot("check")
    assert outcome.status == 1
    assert [line.split() for line in outcome.stdout.splitlines()] == [
        ["PROBLEM", "DIGEST", "KEY"],
        ["truncated", str(Digest.of(LAYER)), key],
        ["2", "blobs:", "1", "truncated"],
    ]


def test_a_missing_blob_is_damage(filled: Filled) -> None:
    """In JSON the findings are counted and listed, status 1."""
    key = layer_key(filled)
    filled.stored.remove(key)
    outcome = entrepot("check", "--json")
    assert outcome.status == 1
    assert json.loads(outcome.stdout) == {
        "blobs": 2,
        "damaged": 1,
        "unknown": 0,
        "unfinished_uploads": 0,
        "unfinished_upload_bytes": 0,
        "findings": [{"problem": "missing", "digest": str(Digest.of(LAYER)), "key": key}],
    }


@only_on("files", "they have folders")
def test_all_blobs_missing_is_damage(filled: Filled) -> None:
    """A store that lost its folder of blobs is checked to the end."""
    for path in sorted((filled.data / "blobs" / "data").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (filled.data / "blobs" / "data").rmdir()
    assert json.loads(entrepot("check", "--json").stdout)["damaged"] == 2
    assert not (filled.data / "blobs" / "data").exists()


def test_unknown_bytes_are_no_damage(filled: Filled) -> None:
    """A file that no row names is listed, status 0."""
    filled.stored.write(UNKNOWN, b"left by a crash")
    outcome = entrepot("check")
    assert outcome.status == 0
    assert outcome.stdout.splitlines()[1].split() == ["unknown", "-", UNKNOWN]
    assert outcome.stdout.endswith("2 blobs: all are there; 1 unknown file\n")
    assert json.loads(entrepot("check", "--json").stdout)["unknown"] == 1


@only_on("files", "they have folders")
def test_a_stray_file_hides_no_damage(filled: Filled) -> None:
    """A file where the store has folders is unknown, and the check goes on."""
    filled.stored.remove(layer_key(filled))
    (filled.data / "blobs" / "data" / "stray").touch()
    outcome = entrepot("check")
    assert (outcome.status, outcome.stderr) == (1, "")
    _, missing, unknown, summary = outcome.stdout.splitlines()
    assert missing.split()[:2] == ["missing", str(Digest.of(LAYER))]
    assert unknown.split() == ["unknown", "-", "stray"]
    assert summary == "2 blobs: 1 missing; 1 unknown file"


@only_on("files", "made by hand")
def test_unfinished_uploads_are_counted(filled: Filled) -> None:
    """What pushes that were cut off left is told with its bytes, status 0."""
    for key, size in (("a", 1000), ("b", 2000)):
        (filled.data / "blobs" / "uploads" / key).write_bytes(bytes(size))
    outcome = entrepot("check")
    assert (outcome.status, outcome.stdout.splitlines()) == (
        0,
        ["2 blobs: all are there", "2 unfinished uploads, 2.9 KiB: pushes that run now or were cut off"],
    )
    document = json.loads(entrepot("check", "--json").stdout)
    assert (document["unfinished_uploads"], document["unfinished_upload_bytes"]) == (2, 3000)


def test_help_says_what_is_not_checked() -> None:
    """Nobody takes a check for one that reads every byte."""
    assert "content is not read" in " ".join(entrepot("check", "--help").stdout.split())


@only_on("files", "they are on a volume, with a marker")
def test_another_registrys_blobs_are_refused(filled: Filled) -> None:
    """A store with another registry's marker is not checked but named."""
    (filled.data / "blobs" / ".entrepot").write_text('{"instance": "other", "format": 1}')
    outcome = entrepot("check")
    assert outcome.status == 1
    assert "blobs belongs to another registry's database\n" in outcome.stderr
    assert "set ENTREPOT_DATA" in outcome.stderr


@only_on("files", "they are on a volume, with a marker")
def test_an_unmounted_store_is_refused(filled: Filled) -> None:
    """A store without a marker asks for its volume, and gets no marker."""
    marker = filled.data / "blobs" / ".entrepot"
    marker.unlink()
    outcome = entrepot("check")
    assert outcome.status == 1
    assert "is its volume mounted?" in outcome.stderr
    assert not marker.exists()


def test_a_terminal_sees_progress(filled: Filled) -> None:
    """On a terminal a bar shows how far the check is."""
    with Terminal("check", ENTREPOT_DATA=str(filled.data)) as terminal:
        assert terminal.wait() == 0
    assert "Looking at blobs" in terminal.text
    assert "2 blobs: all are there\n" in terminal.text


def layer_key(filled: Filled) -> str:
    return next(key for key in filled.stored.blobs() if filled.stored.read(key) == LAYER)

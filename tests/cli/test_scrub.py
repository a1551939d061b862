"""`entrepot scrub`."""

import json

import pytest

from storage.digest import Digest
from tests.cli.conftest import Filled
from tests.cli.content import CONFIG, LAYER
from tests.cli.running import Terminal, entrepot, program
from tests.cli.test_check import layer_key
from tests.places import only_on

DIGEST = str(Digest.of(LAYER))


def harm(filled: Filled) -> str:
    """Change a byte of the layer in place; returns its key."""
    key = layer_key(filled)
    filled.stored.write(key, b"L" + LAYER[1:])
    return key


@pytest.mark.usefixtures("filled")
def test_a_whole_registry_has_no_damage() -> None:
    """Status 0, and how much was read."""
    outcome = entrepot("scrub")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "2 blobs, 4.9 KiB: all are whole\n", "")


def test_damage_is_shown_with_what_it_breaks(filled: Filled) -> None:
    """A row for each damaged blob, with its file and the tags that lead to it; status 1."""
    key = harm(filled)
    outcome = program("scrub", ENTREPOT_DATA=str(filled.data))
    assert (outcome.status, outcome.stderr) == (1, "")
    assert [line.split() for line in outcome.stdout.splitlines()] == [
        ["PROBLEM", "DIGEST", "KEY", "BREAKS"],
        ["changed", DIGEST, key, "demo/app:1,", "demo/base:latest"],
        ["2", "blobs,", "4.9", "KiB:", "1", "damaged"],
    ]


def test_damage_in_json(filled: Filled) -> None:
    """In JSON each damaged blob has its repositories and their tags; status 1."""
    key = harm(filled)
    outcome = program("scrub", "--json", ENTREPOT_DATA=str(filled.data))
    assert (outcome.status, outcome.stderr) == (1, "")
    assert json.loads(outcome.stdout) == {
        "blobs": 2,
        "bytes": len(LAYER) + len(CONFIG),
        "damaged": [
            {
                "digest": DIGEST,
                "key": key,
                "problem": "changed",
                "cause": None,
                "broken": [
                    {"repository": "demo/app", "tags": ["1"]},
                    {"repository": "demo/base", "tags": ["latest"]},
                ],
                "has_more": False,
            }
        ],
    }


def test_check_names_what_a_scrub_found(filled: Filled) -> None:
    """A changed blob is damage for `entrepot check` once a scrub has found it, and none any more when it came back."""
    key = harm(filled)
    assert entrepot("check").status == 0
    assert entrepot("scrub").status == 1
    outcome = entrepot("check")
    assert outcome.status == 1
    assert outcome.stdout.splitlines()[1].split() == ["damaged", DIGEST, key]
    assert outcome.stdout.endswith("2 blobs: 1 damaged\n")
    filled.stored.write(key, LAYER)
    assert entrepot("scrub").status == 0
    assert entrepot("check").status == 0


def test_damage_is_audited(filled: Filled) -> None:
    """The change log says who found what, once."""
    harm(filled)
    for _ in range(2):
        assert entrepot("scrub").status == 1
    found = [json.loads(line) for line in entrepot("audit", "--json").stdout.splitlines()]
    (event,) = [one for one in found if one["action"] == "blob.damaged"]
    assert event["subject"] == DIGEST
    assert event["detail"] == "changed; it breaks demo/app:1, demo/base:latest"


@only_on("sqlite", "its file has an owner, and a folder")
def test_other_users_are_refused(filled: Filled) -> None:
    """A scrub writes to the database, so only its owner may run it."""
    assert filled.data.stat().st_uid != 12345
    outcome = entrepot("scrub", uid=12345)
    assert outcome.status == 1
    assert "belongs to the system user" in outcome.stderr


@only_on("files", "they are on a volume, with a marker")
def test_an_unmounted_store_is_no_damage(filled: Filled) -> None:
    """A store without its marker asks for its volume, and nothing is marked as damaged."""
    marker = filled.data / "blobs" / ".entrepot"
    text = marker.read_text()
    marker.unlink()
    outcome = entrepot("scrub")
    assert outcome.status == 1
    assert "is its volume mounted?" in outcome.stderr
    marker.write_text(text)
    assert entrepot("scrub").status == 0


def test_a_terminal_sees_progress(filled: Filled) -> None:
    """On a terminal a bar shows how many bytes are read."""
    with Terminal("scrub", ENTREPOT_DATA=str(filled.data)) as terminal:
        assert terminal.wait() == 0
    assert "Reading blobs" in terminal.text
    assert "2 blobs, 4.9 KiB: all are whole\n" in terminal.text

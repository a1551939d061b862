"""Immutable tags are not moved, through any door; everything else goes on."""

import re
import shlex
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.content import Repository, digest_of, image
from tests.api.running import Gate
from tests.api.test_races import all_at_once
from tests.api.wire import SECONDS, Reply
from tests.history.conftest import Command

MODES = {
    # settings: may `v1` move, may `dev-1`
    "immutability=mutable": (True, True),
    "immutability=immutable": (False, False),
    "immutability=immutable_with_exclusion exclude=dev-*,nightly": (False, True),
    "immutability=mutable_with_exclusion exclude=v*": (False, True),
}
Door = Callable[[Repository, str, bytes], Reply]
CASES = [(words, tag, may) for words, tags in MODES.items() for tag, may in zip(("v1", "dev-1"), tags, strict=True)]


def put_by_tag(repository: Repository, tag: str, content: bytes) -> Reply:
    return repository.put(tag, content)


def put_by_digest(repository: Repository, tag: str, content: bytes) -> Reply:
    return repository.put(f"{digest_of(content)}?tag={tag}", content)


def put_beside_another(repository: Repository, tag: str, content: bytes) -> Reply:
    return repository.put(f"other?tag=another&tag={tag}", content)


@pytest.mark.input(114)
@pytest.mark.parametrize("door", [put_by_tag, put_by_digest, put_beside_another])
@pytest.mark.parametrize(("words", "tag", "may_move"), CASES)
def test_a_tag_is_moved_by_a_push(
    repository: Repository, command: Command, words: str, tag: str, may_move: bool, door: Door
) -> None:
    """A push moves a tag only where the mode lets it; a refused one leaves nothing, not even its other tags."""
    first, second = repository.push_image(tag), image(repository.push_blob())
    assert command(repository, "repository", "set", repository.name, *words.split()).status == 0
    reply = door(repository, tag, second)
    if may_move:
        assert reply.status == 201
    else:
        assert (reply.status, reply.code) == (403, "DENIED")
        assert repository.status(f"manifests/{digest_of(second)}") == 404
        assert repository.tags() == [tag]
    assert repository.call("GET", f"manifests/{tag}").body == (second if may_move else first)


@pytest.mark.parametrize(("words", "tag", "may_move"), CASES)
def test_a_tag_is_moved_by_a_restore(
    repository: Repository, command: Command, words: str, tag: str, may_move: bool
) -> None:
    """Going back is moving, too."""
    first, second = repository.push_image(tag), repository.push_image(tag)
    assert command(repository, "repository", "set", repository.name, *words.split()).status == 0
    outcome = command(repository, "tag", "restore", repository.name, tag)
    assert outcome.status == (0 if may_move else 1)
    assert ("immutable" in outcome.stderr) == (not may_move)
    assert repository.call("GET", f"manifests/{tag}").body == (first if may_move else second)


@pytest.mark.input(114)
@pytest.mark.parametrize("words", MODES)
def test_what_every_mode_allows(repository: Repository, command: Command, words: str) -> None:
    """New tags, the same digest again, deletes by tag and by digest, and a deleted tag that is set anew."""
    content, other = repository.push_image("v1"), repository.push_image()
    assert command(repository, "repository", "set", repository.name, *words.split()).status == 0
    assert repository.put("v1", content).status == 201
    assert repository.put("v2", content).status == 201
    assert repository.put(f"{digest_of(content)}?tag=v1&tag=v3", content).status == 201
    assert repository.call("DELETE", "manifests/v1").status == 202
    assert repository.put("v1", other).status == 201
    assert repository.call("DELETE", f"manifests/{digest_of(other)}").status == 202
    assert command(repository, "tag", "restore", repository.name, "v1").status == 0
    assert repository.call("GET", "manifests/v1").body == other


@pytest.mark.parametrize("words", [words for words, (may_move, _) in MODES.items() if not may_move])
def test_the_refusal_says_what_to_do(repository: Repository, command: Command, words: str) -> None:
    """It names the setting for people and programs; the command that it shows lets the tag move."""
    repository.push_image("v1")
    assert command(repository, "repository", "set", repository.name, *words.split()).status == 0
    content = image(repository.push_blob())
    (error,) = repository.put("v1", content).errors
    assert words.split(maxsplit=1)[0] in error["message"]
    assert error["detail"] == {"tag": "v1", "setting": "immutability"}
    shown = re.search(r"`entrepot (.*)`", error["message"])
    assert shown
    assert command(repository, *shlex.split(shown[1])).status == 0
    assert repository.put("v1", content).status == 201


def test_only_one_makes_an_immutable_tag(repository: Repository, command: Command) -> None:
    """Of eight that set a new tag to different content, one succeeds; all others are refused, and leave nothing."""
    repository.push_image("other")
    assert command(repository, "repository", "set", repository.name, "immutability=immutable").status == 0
    contents = [image(repository.push_blob()) for _ in range(8)]
    replies = all_at_once(*(lambda one=one: repository.put("v1", one) for one in contents))
    assert sorted(reply.status for reply in replies) == [201, *[403] * 7]
    (winner,) = (one for one, reply in zip(contents, replies, strict=True) if reply.status == 201)
    assert repository.call("GET", "manifests/v1").body == winner
    assert [repository.status(f"manifests/{digest_of(one)}") for one in contents].count(200) == 1


def test_no_move_after_the_setting(repository: Repository, command: Command) -> None:
    """Four move a tag all the time: once the setting is made, it stays where it is."""
    contents = [repository.push_image("v1") for _ in range(4)]
    is_over = threading.Event()

    def move(content: bytes) -> int:
        count = 0
        while not is_over.is_set():
            count += repository.put("v1", content).status == 201
        return count

    with ThreadPoolExecutor(4) as threads:
        try:
            moves = [threads.submit(move, content) for content in contents]
            assert command(repository, "repository", "set", repository.name, "immutability=immutable").status == 0
            stays = repository.call("GET", "manifests/v1").body
            for content in contents:
                assert repository.put("v1", content).status == (201 if content == stays else 403)
        finally:
            is_over.set()
        assert sum(one.result(SECONDS) for one in moves) > 0
    assert repository.call("GET", "manifests/v1").body == stays


def test_a_move_that_is_under_way(gated: Repository, gate: Gate, command: Command) -> None:
    """A setting that waits for a move to be committed comes after it: it finds the tag moved, and keeps it there."""
    gated.push_image("v1")
    second, third = image(gated.push_blob()), image(gated.push_blob())
    with ThreadPoolExecutor(2) as threads:
        with gate.hold("transaction.applied") as arrived:
            move = threads.submit(gated.put, "v1", second)
            assert arrived.wait(SECONDS)
            setting = threads.submit(command, gated, "repository", "set", gated.name, "immutability=immutable")
        assert move.result().status == 201
        assert setting.result().status == 0
    assert gated.put("v1", third).status == 403
    assert gated.call("GET", "manifests/v1").body == second

"""Protected tags are not deleted, nor what they point to, nor their repository, through any door."""

import pytest

from tests.api.content import Repository, digest_of, image, index
from tests.api.test_races import all_at_once
from tests.api.wire import Reply
from tests.history.conftest import Command


def protect(repository: Repository, command: Command, patterns: str) -> None:
    assert command(repository, "repository", "set", repository.name, f"protect={patterns}").status == 0


def delete(repository: Repository, reference: str) -> Reply:
    return repository.call("DELETE", f"manifests/{reference}")


PATTERNS = {
    # patterns: is `v1` protected
    "v1": True,
    "v*": True,
    "latest,v*": True,
    "*": True,
    "v": False,
    "v1.*": False,
    "latest": False,
    "": False,
}


@pytest.mark.parametrize(("patterns", "is_protected"), PATTERNS.items())
def test_deletes(repository: Repository, command: Command, patterns: str, is_protected: bool) -> None:
    """Neither the tag nor the manifest under any of its names is deleted; a refusal changes nothing."""
    content = repository.push_image("v1")
    repository.push_manifest(content, "other")
    protect(repository, command, patterns)
    for reference in ("v1", digest_of(content)):
        reply = delete(repository, reference)
        assert reply.status == (403 if is_protected else 202)
        if is_protected:
            assert reply.code == "DENIED"
            assert repository.tags() == ["other", "v1"]
            assert repository.call("GET", f"manifests/{reference}").body == content
    assert repository.tags() == (["other", "v1"] if is_protected else [])


def test_what_is_not_protected(repository: Repository, command: Command) -> None:
    """Other tags of the same manifest, other manifests and blobs that nothing names are deleted as before."""
    content = repository.push_image("v1")
    repository.push_manifest(content, "other")
    apart, blob = repository.push_image("apart"), repository.push_blob()
    protect(repository, command, "v*")
    assert delete(repository, "other").status == 202
    assert delete(repository, digest_of(apart)).status == 202
    assert repository.call("DELETE", f"blobs/{digest_of(blob)}").status == 202
    assert repository.tags() == ["v1"]


def test_a_child_of_what_is_protected(repository: Repository, command: Command) -> None:
    """The parts of a protected index are in use, like those of any index."""
    child = repository.push_image()
    repository.push_manifest(index([child]), "v1")
    protect(repository, command, "v*")
    assert delete(repository, digest_of(child)).status == 405


def test_a_protected_tag_moves(repository: Repository, command: Command) -> None:
    """Moving is the matter of immutability: what the tag pointed to before may be deleted then."""
    first, second = repository.push_image("v1"), image(repository.push_blob())
    protect(repository, command, "v*")
    assert delete(repository, digest_of(first)).status == 403
    assert repository.put("v1", second).status == 201
    assert delete(repository, digest_of(first)).status == 202
    assert delete(repository, digest_of(second)).status == 403


def test_the_refusal_says_what_to_do(repository: Repository, command: Command) -> None:
    """It names the setting and the tag, and how to change that."""
    repository.push_image("v1")
    protect(repository, command, "latest,v*")
    (error,) = delete(repository, "v1").errors
    assert "protect=latest,v*" in error["message"]
    assert f"`entrepot repository set {repository.name} protect=PATTERNS`" in error["message"]
    assert error["detail"] == {"tag": "v1", "setting": "protect"}
    protect(repository, command, "")
    assert delete(repository, "v1").status == 202


def test_the_command_line_is_refused(repository: Repository, command: Command) -> None:
    """The tag, its manifest and its repository stay, whoever runs the command."""
    content = repository.push_image("v1")
    protect(repository, command, "v*")
    for words in (
        ("manifest", "delete", repository.name, "v1"),
        ("manifest", "delete", repository.name, digest_of(content)),
        ("repository", "delete", repository.name, "--yes"),
    ):
        outcome = command(repository, *words)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert f"{repository.name} has protect=v*" in outcome.stderr
    assert repository.call("GET", "manifests/v1").body == content
    protect(repository, command, "latest")
    assert command(repository, "repository", "delete", repository.name, "--yes").status == 0


@pytest.mark.parametrize("turn", range(8))
def test_a_tag_and_the_delete_of_its_manifest(repository: Repository, command: Command, turn: int) -> None:
    """A protected tag that was set never points to nothing, however the delete of its manifest comes between."""
    content = repository.push_image()
    protect(repository, command, "v*")
    put, deleted = all_at_once(
        *[lambda: repository.put("v1", content), lambda: delete(repository, digest_of(content))][:: 1 - turn % 2 * 2]
    )[:: 1 - turn % 2 * 2]
    assert put.status == 201
    assert deleted.status in {202, 403}
    assert repository.call("GET", "manifests/v1").body == content
    assert repository.status(f"manifests/{digest_of(content)}") == 200

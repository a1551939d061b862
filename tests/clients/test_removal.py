"""What is deleted, expired, protected and brought back, as docker and crane see it."""

import pytest

from .engines import DockerEngine
from .images import Image, Layout
from .registry import Registry
from .suites import Suite
from .test_docker import load

KEEP_ONE = (
    '{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan",'
    ' "countNumber": 1}, "action": {"type": "expire"}}]}'
)


@pytest.fixture(scope="module", params=["docker20", "docker28"])
def docker(request: pytest.FixtureRequest) -> DockerEngine:
    engine: DockerEngine = request.getfixturevalue(request.param)
    return engine


def push(docker: DockerEngine, registry: Registry, image: Image, name: str) -> str:
    reference = f"{registry.address}/{name}"
    load(docker, image, reference)
    docker.run("push", reference)
    return reference


def test_immutable_tag(registry: Registry, docker: DockerEngine, small: Image, sibling: Image) -> None:
    """Another image under the tag is refused with the setting's name; the same one is well."""
    name = f"{docker.name}/immutable"
    push(docker, registry, small, f"{name}:1")
    registry.command("repository", "set", name, "immutability=immutable")
    push(docker, registry, small, f"{name}:1")
    before = registry.digest(name, "1")
    load(docker, sibling, f"{registry.address}/{name}:1")
    assert "immutability=immutable" in docker.refuse("push", f"{registry.address}/{name}:1")
    assert registry.digest(name, "1") == before


def test_expired_and_undone(registry: Registry, docker: DockerEngine, small: Image, sibling: Image) -> None:
    """What a policy has removed cannot be pulled, and can be again after an undo."""
    name = f"{docker.name}/expired"
    first = push(docker, registry, small, f"{name}:1")
    push(docker, registry, sibling, f"{name}:2")
    docker.forget(first)
    registry.command("lifecycle", "set", name, "-", stdin=KEEP_ONE)
    said = registry.command("lifecycle", "run", "--repository", name)
    assert "1 image removed" in said
    assert "not found" in docker.refuse("pull", first) or "unknown" in docker.refuse("pull", first)
    registry.command("lifecycle", "remove", name)
    registry.command("lifecycle", "undo", said.partition("run ")[2].partition(":")[0])
    docker.run("pull", first)


def test_deleted_restored_and_purged(registry: Registry, newer: Suite, small: Image) -> None:
    """Crane deletes, the operator restores; after a purge no byte of it is left, and it can be pushed again."""
    layout = Layout(newer.folder("crane-removal"))
    layout.tag("1", layout.add_image(small))
    reference = f"{registry.address}/crane/removal"
    newer.run("crane", "push", layout.folder, f"{reference}:1")
    digest = registry.digest("crane/removal", "1")
    newer.run("crane", "delete", f"{reference}@{digest}")
    registry.command("tag", "restore", "crane/removal", "1")
    newer.run("crane", "validate", "--remote", f"{reference}:1")
    newer.run("crane", "delete", f"{reference}@{digest}")
    assert "removed" in registry.command("garbage", "purge", digest, "--yes")
    newer.run("crane", "push", layout.folder, f"{reference}:1")
    registry.assert_complete("crane/removal", "1")


def test_protected_tag(registry: Registry, newer: Suite, small: Image) -> None:
    """A protected tag cannot be deleted, nor what it points to."""
    layout = Layout(newer.folder("crane-protected"))
    layout.tag("1", layout.add_image(small))
    reference = f"{registry.address}/crane/protected"
    newer.run("crane", "push", layout.folder, f"{reference}:1")
    registry.command("repository", "set", "crane/protected", "protect=1")
    digest = registry.digest("crane/protected", "1")
    for what in (f"{reference}:1", f"{reference}@{digest}"):
        assert "protected" in newer.refuse("crane", "delete", what)
    assert registry.digest("crane/protected", "1") == digest

"""What a machine over a collected registry looks at after each step, and at the end."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from registry.errors import BlobUnknown, InUse, RegistryError
from registry.oci.names import RepositoryName
from storage.digest import Digest
from tests.garbage.content import BLOBS
from tests.garbage.findings import find_leftovers, find_losses
from tests.garbage.oracle import Oracle, Repository, Stored
from tests.garbage.yard import MOST_STEPS, WINDOWS, HandClock, Yard

T = TypeVar("T")


class Killed(BaseException):
    """The server ends at a named point."""


class Watch(RuleBasedStateMachine):
    """A registry in a temporary folder, and what the oracle says of it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory()
        self.clock = HandClock()
        self.oracle = Oracle(7)
        self.kill_at = ""
        self.yard: Yard

    async def open_yard(self) -> Yard:
        windows = replace(WINDOWS, undelete_days=self.oracle.days)
        return await Yard(Path(self.folder.name), self.clock, windows, self.reach).open()

    @invariant()
    def promises_are_kept(self) -> None:
        self.pass_moment()
        assert find_losses(self.yard, self.oracle) == []
        for repository in self.oracle.visible():
            self.pull_all(repository)

    def pass_moment(self) -> None:
        """No two things happen in one millisecond, and what has lapsed is known before the next."""
        self.clock.now += 1
        self.oracle.lapse(self.clock.now)
        for repository in self.oracle.visible():
            if not repository.id:
                ((repository.id,),) = self.yard.rows(
                    "SELECT id FROM repository WHERE name = ? AND deleted_at IS NULL", repository.name
                )

    def pull_all(self, repository: Repository) -> None:
        for _, stored in repository.visible():
            assert self.run(self.yard.pull(repository.name, stored.content)) == stored.content.content
        for tag, digest in repository.tags.items():
            assert self.run(self.yard.pull(repository.name, tag)) == repository.manifests[digest].content.content
        for blob in BLOBS:
            if repository.must_have(str(blob.digest), self.clock.now):
                assert self.run(self.yard.read_blob(repository.name, blob)) == blob.content

    def come_to_rest(self) -> None:
        """Until nothing is left to be collected, ever."""
        self.run(self.yard.registry.leases.flush())
        for _ in range(MOST_STEPS):
            self.run(self.yard.collect())
            self.see_what_ended()
            if not self.yard.move_on():
                return
        raise AssertionError(f"reviews without end: {self.yard.rows('SELECT * FROM review')}")

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.promises_are_kept()
            assert find_leftovers(self.yard, self.oracle) == []
            assert self.run(self.yard.check()) == []
        finally:
            self.yard.crash()
            self.runner.close()
            self.folder.cleanup()

    def reach(self, point: str) -> None:
        if point == self.kill_at:
            raise Killed

    def is_confirmed(self, repository: Repository, digest: str, problem: RegistryError | None) -> bool:
        """Whether the registry says that the blob is there, as it must when it was promised."""
        assert problem is None or isinstance(problem, BlobUnknown)
        assert problem is None or not repository.must_have(digest, self.clock.now)
        return problem is None

    def see_what_ended(self) -> None:
        """The collector deletes referrers whose subjects are gone for good, and nothing else that is visible."""
        self.oracle.lapse(self.clock.now)
        for repository in self.oracle.visible():
            missing = {digest for digest, one in repository.visible() if not self.is_there(repository.name, digest)}
            while missing:
                ended = {digest for digest in missing if repository.may_end_with_subject(digest)}
                assert ended, f"{missing} are lost in {repository.name}"
                for digest in ended:
                    repository.delete_manifest(digest, self.clock.now)
                repository.lapse(self.clock.now, self.oracle.days)
                missing -= ended

    def is_there(self, name: str, digest: str) -> bool:
        work = self.yard.registry.manifests.get(RepositoryName(name), Digest.parse(digest))
        return self.attempt(work) is None

    def is_another_kept(self, repository: Repository) -> bool:
        return any(one.name == repository.name and one.is_kept for one in self.oracle.repositories)

    def list_manifests(self) -> list[tuple[Repository, Stored]]:
        """Those of visible repositories, the deleted ones too."""
        return [(repository, one) for repository in self.oracle.visible() for one in repository.manifests.values()]

    def list_rights(self) -> list[tuple[Repository, str]]:
        """Those of visible repositories that nobody has deleted; the collector may have taken them."""
        return [
            (repository, digest)
            for repository in self.oracle.visible()
            for digest, right in sorted(repository.rights.items())
            if right.is_visible
        ]

    def attempt(self, work: Coroutine[Any, Any, object]) -> RegistryError | None:
        """Do it, or return the refusal."""
        try:
            self.run(work)
        except RegistryError as problem:
            return problem
        return None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


def named_in(problem: RegistryError | None) -> set[str]:
    """The manifests that a refusal names."""
    return (
        set(problem.detail["manifests"]) if isinstance(problem, InUse) and isinstance(problem.detail, dict) else set()
    )

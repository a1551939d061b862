"""Lifecycle policies of repositories: set, get, remove, and what one would do, now or at another time."""

from registry.identity import Actor, Clock, Deed
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.preview import Preview
from registry.lifecycle.refusals import PolicyUnknown
from registry.lifecycle.rules import Policy
from registry.metadata import policies, previews, repositories
from registry.metadata.database import Database, Transaction
from registry.metadata.policies import StoredPolicy
from registry.metadata.previews import Terms
from registry.oci.names import RepositoryName


class Policies:
    """With `is_strict` they have ECR's keys alone; the numbers hold where a repository's own settings say nothing."""

    def __init__(
        self, database: Database, clock: Clock, *, is_strict: bool, brake_percent: int, undelete_days: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._terms = Terms(is_strict=is_strict, brake_percent=brake_percent, undelete_days=undelete_days)

    async def set(self, name: RepositoryName, text: str, by: Actor) -> Policy:
        """In the place of the one that the repository has. Raises PolicyInvalid, NameUnknown."""
        policy = parse_policy(text, is_strict=self._terms.is_strict)
        await self._database.write(
            lambda tx: policies.put(tx, repositories.get_id(tx, name), text, Deed(by, self._clock()))
        )
        return policy

    async def get(self, name: RepositoryName) -> StoredPolicy:
        """Raises NameUnknown, PolicyUnknown."""
        return await self._database.read(lambda tx: _get_policy(tx, name))

    async def find(self, name: RepositoryName) -> StoredPolicy | None:
        """None also where there is no such repository."""
        return await self._database.read(lambda tx: policies.find(tx, name))

    async def remove(self, name: RepositoryName, by: Actor) -> None:
        """Raises NameUnknown, PolicyUnknown."""

        def work(tx: Transaction) -> None:
            if not policies.remove(tx, repositories.get_id(tx, name), Deed(by, self._clock())):
                raise PolicyUnknown(name.value)

        await self._database.write(work)

    async def list_all(self, after: str, limit: int) -> list[StoredPolicy]:
        """In the order of their repositories' names, those after `after`."""
        return await self._database.read(lambda tx: policies.list_all(tx, after, limit))

    async def preview(self, name: RepositoryName, *, text: str | None = None, at: int | None = None) -> Preview:
        """What the policy `text` (None: the repository's own) would do at an instant in Unix ms (None: now).

        Raises NameUnknown, PolicyUnknown, PolicyInvalid. Of a large repository it takes seconds.
        """

        def work(tx: Transaction) -> Preview:
            repository = repositories.get(tx, name)
            wanted = _get_policy(tx, name).text if text is None else text
            now = self._clock() if at is None else at
            return previews.make_plan(tx, repository, wanted, now, self._terms).preview

        return await self._database.read(work)


def _get_policy(tx: Transaction, name: RepositoryName) -> StoredPolicy:
    repository = repositories.get(tx, name)
    policy = policies.find(tx, repository.name)
    if policy is None:
        raise PolicyUnknown(name.value)
    return policy

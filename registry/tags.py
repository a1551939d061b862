"""Tags: list them, and what they pointed to. They are set by the push of a manifest and deleted like one."""

from registry.errors import NameUnknown
from registry.metadata import repositories, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.tags import TagRow
from registry.oci.names import RepositoryName, Tag


class Tags:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_names(self, repository: RepositoryName, after: str, limit: int) -> list[str]:
        """Names after `after`, in byte order. Raises NameUnknown."""
        return await self._database.read(lambda tx: tags.list_names(tx, _get_id(tx, repository), after, limit))

    async def list_current(self, repository: RepositoryName, after: str, limit: int) -> list[tuple[str, TagRow]]:
        """Names after `after` in byte order, each with what it points to. Raises NameUnknown."""
        return await self._database.read(lambda tx: tags.list_current(tx, _get_id(tx, repository), after, limit))

    async def list_history(self, repository: RepositoryName, tag: Tag, limit: int) -> list[TagRow]:
        """What the tag pointed to, the latest first. Raises NameUnknown."""
        return await self._database.read(lambda tx: tags.list_history(tx, _get_id(tx, repository), tag, limit))


def _get_id(tx: Transaction, name: RepositoryName) -> int:
    repository = repositories.find(tx, name)
    if repository is None:
        raise NameUnknown(name.value)
    return repository.id

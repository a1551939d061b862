"""A database that refuses writes when its registry moves to another place: reads go on. Both for another schema."""

from collections.abc import Callable
from typing import TypeVar

from registry.errors import Unavailable
from registry.metadata import moves, schema
from registry.metadata.database import Database, Transaction
from registry.metadata.schema import Outdated

T = TypeVar("T")


class Moved(Unavailable):
    """`place` is where the registry is, or will be in a moment: for operators, not for clients."""

    def __init__(self, place: str) -> None:
        super().__init__(
            "the registry is moving, or has moved: pulls go on here, everything else has to wait", is_public=True
        )
        self.place = place


class Gate:
    """The `database` of the registry at `place`. It is open until it is `armed`, for whoever moves registries."""

    def __init__(self, database: Database, place: str) -> None:
        self._database = database
        self._place = place
        self._is_armed = False
        self._refusal: str | None = None
        self._schema = 0  # the one that was last found to be one of ours
        self.is_shared = database.is_shared
        self.file_number = database.file_number

    @property
    def clock(self) -> Callable[[], int]:
        return self._database.clock

    def arm(self) -> None:
        """Look before each write from now on, in its own transaction: the schema is there."""
        self._is_armed = True

    def shut(self, refusal: str) -> None:
        """Refuse reads, too, until `reopen`: what the server understands is not in the database any more."""
        self._refusal = refusal

    def reopen(self) -> None:
        self._refusal = None

    def check(self, tx: Transaction) -> None:
        """Raises Moved; Outdated when servers of this version cannot work with the schema, which was ours once."""
        place, number = moves.find_with_schema(tx)
        if place is not None and place != self._place:
            raise Moved(place)
        if number != self._schema:
            schema.refuse_newer(tx)
            self._schema = number

    async def read(self, work: Callable[[Transaction], T]) -> T:
        if self._refusal is not None:
            raise Outdated(self._refusal)
        return await self._database.read(work)

    async def write(self, work: Callable[[Transaction], T], *, adds: bool = False) -> T:
        """As every database's; raises Moved and Outdated, too."""
        if not self._is_armed:
            return await self._database.write(work, adds=adds)

        def guarded(tx: Transaction) -> T:
            self.check(tx)
            return work(tx)

        return await self._database.write(guarded, adds=adds)

    def version(self) -> object:
        return None if self._refusal is not None else self._database.version()

    def checkpoint(self) -> None:
        self._database.checkpoint()

    def close(self) -> None:
        self._database.close()

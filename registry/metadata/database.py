"""What every database does: one synchronous function is one transaction, and one SQL text serves all of them.

The SQL is what SQLite and PostgreSQL both understand. Named parameters (`:name`) everywhere; a Python bool stands where
SQL wants a truth value, a stored flag is 0 or 1; instants are integers.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Value: TypeAlias = str | int | bytes | None


class Transaction(Protocol):
    """SQL with named parameters, inside one transaction."""

    is_shared: bool  # as its database is
    refusals: tuple[type[Exception], ...]  # what `run` raises of a row that the schema does not allow

    def run(self, sql: str, **parameters: Value) -> list[Row]:
        """Run one statement to its end."""

    def each(self, sql: str, **parameters: Value) -> Iterator[Row]:
        """The rows of a query, each read when it is asked for."""

    def each_large(self, sql: str, **parameters: Value) -> Iterator[Row]:
        """As `each`, for rows of some mebibytes: few of them are in memory at once."""

    def one(self, sql: str, **parameters: Value) -> Row | None:
        """The first row, None when there is none."""

    def only(self, sql: str, **parameters: Value) -> Row:
        """The row of a statement that always has one."""

    def now(self) -> int:
        """What the database's clock says, in Unix milliseconds: the one that servers agree about."""

    def alone(self, *, gives_way: bool = False, briefly: bool = False) -> None:
        """Let no other write be under way until this one ends. Late in the work, it may be run again from its start.

        Whoever comes meanwhile waits behind it. What `gives_way` lets them pass whenever it has to wait itself, and is
        run again and again, until it is Unavailable: it changes the schema. `briefly`: it has no more time than others.
        """

    def keep_schema(self) -> None:
        """Let nobody change the schema until this ends, nor read it while somebody does. Before any statement.

        For readings that take long: of a table that is changed while they go on they might see no rows. There must be
        a schema.
        """


class Database(Protocol):
    """Opened when it is constructed. Several servers may use one that `is_shared`."""

    is_shared: bool
    file_number: int  # another one after it was restored from a backup, or copied

    @property
    def clock(self) -> Callable[[], int]:
        """The one to decide by outside of transactions, in Unix milliseconds: near what `now` says in them."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot of the database. Raises Unavailable, also when `work` tries to write."""

    async def write(self, work: Callable[[Transaction], T], *, adds: bool = False) -> T:
        """Run `work` in a transaction that is durable when this returns.

        What `work` raises undoes its writes and comes out here; it may be run twice. Raises StorageFull, Unavailable;
        work that `adds` what a push brings is refused already when only the reserve is left.
        """

    def version(self) -> object:
        """As long as it is the same, so is everything in the database; None where only the database knows.

        Raises Unavailable.
        """

    def checkpoint(self) -> None:
        """Do now what writers would have to do at their next commit, where there is something like that."""

    def close(self) -> None:
        """Commit what waits to be written, and refuse the rest."""

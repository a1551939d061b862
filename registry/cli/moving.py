"""What the commands that take a registry elsewhere show: how far they are, and what could not be taken."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from registry.cli.output import make_console, print_table, show_count
from registry.moving.backup import Unsaved


class Bar:
    """How far something is, in bytes."""

    def __init__(self, progress: Progress, description: str) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=None)

    @property
    def is_shown(self) -> bool:
        return not self._progress.disable

    def begin(self, total: int, description: str | None = None) -> None:
        self._progress.reset(self._task, total=total, description=description)

    def advance(self, done: int) -> None:
        self._progress.advance(self._task, done)


@contextlib.contextmanager
def blob_bar(description: str) -> Iterator[Bar]:
    """A bar on a terminal, while the block lasts."""
    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, description)


def show_unsaved(unsaved: Sequence[Unsaved]) -> None:
    if unsaved:
        print_table(("PROBLEM", "DIGEST"), [(each.problem, each.digest) for each in unsaved])


def show_rows(rows: Mapping[str, int]) -> str:
    """How much there is, of what people know by name."""
    count = rows["repository"]
    repositories = "1 repository" if count == 1 else f"{count} repositories"
    return f"{repositories}, {show_count(rows['manifest'], 'manifest')}"

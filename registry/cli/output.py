"""What commands print: tables for people, JSON for programs; instants in UTC, sizes in words or bytes."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import typer
from rich.cells import cell_len
from rich.console import Console

from registry.cli.printable import show_text


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = (), has_header: bool = True
) -> None:
    """`numbers` names the columns that are aligned to the right."""
    cells = [[show_text(str(cell)) for cell in row] for row in rows]
    lines = [list(columns), *cells] if has_header else cells
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    console = make_console()
    for number, line in enumerate(lines):
        padded = [
            " " * (width - cell_len(cell)) + cell if column in numbers else cell + " " * (width - cell_len(cell))
            for column, cell, width in zip(columns, line, widths, strict=True)
        ]
        style = "bold" if has_header and number == 0 else None
        # Not folded, because nobody can copy half a digest. Not by rich's own table, which takes half a minute for
        # 100,000 rows.
        console.out("  ".join(padded).rstrip(), style=style, highlight=False)


def print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2))


def print_json_line(document: object) -> None:
    typer.echo(json.dumps(document))


def print_secret(sentence: str, secret: str) -> None:
    """The secret is alone on standard output, where a script takes it; what it is, is told on standard error."""
    typer.echo(sentence, err=True)
    typer.echo(secret)


def print_hint(text: str) -> None:
    """What else there is to know about what was done: no part of what a script takes."""
    typer.echo(text, err=True)


def make_console(*, stderr: bool = False) -> Console:
    """Text is shown as it is: names and messages are no markup."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def show_instant(milliseconds: int) -> str:
    return _iso(milliseconds, "seconds")


def exact_instant(milliseconds: int) -> str:
    return _iso(milliseconds, "milliseconds")


def show_count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_size(size: int) -> str:
    """`size` in bytes."""
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:  # noqa: PLR2004 - the definition of the units
            break
        amount, unit = amount / 1024, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def _iso(milliseconds: int, precision: str) -> str:
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec=precision).replace("+00:00", "Z")

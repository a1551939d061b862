"""`entrepot restore`: make a registry of a backup."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Invocation, Refused
from registry.cli.moving import Bar, blob_bar, show_rows, show_unsaved
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_json, show_count, show_instant, show_size
from registry.cli.places import show_registry
from registry.cli.settings import load_config
from registry.config import Config
from registry.moving.archive import Title
from registry.moving.restore import CannotRestore, Restore, Restored
from registry.stores import name_places

app = typer.Typer(add_completion=False)


@app.command()
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup; - is standard input.")],
    *,
    is_partial: Annotated[
        bool, typer.Option("--partial", help="Take what there is of a backup that was cut off.")
    ] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Make a registry of a backup, where none is yet.

    The settings say where: a directory, or any database and storage. Each blob
    is hashed while it is stored. The registry is there when all is done; a
    restore that was cut off goes on when it is started again. Blobs that the
    backup lacks are named and not served until they are pushed again: exit
    status 1.

    What was pushed, deleted or granted after the backup is not there. Whoever was
    logged in logs in again by itself, with the same password. The collector rests
    for ten minutes once the server has started.

    Examples:
      ENTREPOT_DATA=/srv/registry entrepot restore registry.tar
      zstd -dc registry.tar.zst | entrepot restore -
    """
    config, _ = load_config(config_file)
    invocation = ctx.ensure_object(Invocation)
    opening.refuse_other_user(config, invocation)
    with (
        blob_bar("Restoring blobs") as bar,
        _opened(file) as stream,
        opening.explained(config, invocation),
    ):
        restored = asyncio.run(_restore(config, stream, bar, is_partial=is_partial))
    if as_json:
        print_json(_document(restored))
    else:
        show_unsaved(restored.missing)
        typer.echo(_sum_up(restored))
    if restored.missing:
        raise typer.Exit(1)


async def _restore(config: Config, file: IO[bytes], bar: Bar, *, is_partial: bool) -> Restored:
    def tell(title: Title) -> None:
        bar.begin(title.blob_bytes)

    registry = Registry(config)
    try:
        _, place = name_places(config)
        return await Restore(registry.database, registry.store, registry.clock, place).read(
            file, tell, bar.advance, is_partial=is_partial
        )
    except CannotRestore as problem:
        raise Refused(f"{show_registry(config)}: {problem}") from None
    finally:
        registry.close()


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Raises Refused."""
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = file.open("rb")
    except OSError as problem:
        raise Refused(f"{file}: {problem.strerror}") from None
    with stream:
        yield stream


def _document(restored: Restored) -> dict[str, object]:
    return {
        "taken_at": exact_instant(restored.title.taken_at),
        "blobs": restored.blobs,
        "blob_bytes": restored.blob_bytes,
        "rows": restored.title.rows,
        "missing": [asdict(each) for each in restored.missing],
    }


def _sum_up(restored: Restored) -> str:
    rows = restored.title.rows
    damage = f"; {show_count(len(restored.missing), 'blob')} missing" if restored.missing else ""
    return (
        f"Restored as of {show_instant(restored.title.taken_at)}: {show_rows(rows)},"
        f" {show_count(restored.blobs, 'blob')} of {show_size(restored.blob_bytes)}{damage}"
    )

"""`entrepot migrate`: move the registry to another database and storage while it serves."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Invocation, Refused
from registry.cli.moving import Bar, blob_bar, show_unsaved
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import print_hint, print_json, show_count, show_size
from registry.cli.settings import load_config
from registry.config import Config, ConfigInvalid
from registry.moving.copying import KeyInvalid
from registry.moving.migration import CannotMigrate, Migrated, Migration, Side, take_back
from registry.sources import load
from registry.stores import name_places
from storage.blobstore import StoreFull

app = typer.Typer(add_completion=False)


@app.command()
def migrate(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    *,
    to_database: Annotated[
        str | None, typer.Option("--to-database", metavar="URL", help="Where the metadata goes (else it stays).")
    ] = None,
    to_storage: Annotated[
        str | None, typer.Option("--to-storage", metavar="URL", help="Where the blobs go (else they stay).")
    ] = None,
    to_config: Annotated[
        Path | None,
        typer.Option(
            "--to-config", metavar="FILE", help="The TOML file of the moved registry's server, in place of both."
        ),
    ] = None,
    is_abort: Annotated[bool, typer.Option("--abort", help="Let the registry serve again where it was.")] = False,
    accepts_damage: Annotated[
        bool, typer.Option("--accept-damage", help="Go ahead although some blobs are damaged here.")
    ] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Move the registry to another database and storage.

    Blobs are copied first, hashed on the way, while pushes and pulls go on; what
    an earlier try has copied is skipped. At the end pushes are answered with 503
    and Retry-After, the last blobs and all rows follow, and the rows are read
    back and compared. From then on the servers here only serve pulls: start new
    ones with the new places, and send the clients there.

    Whatever goes wrong before leaves the registry where it is. --abort undoes it
    afterwards, before anything is pushed to the new place. --to-config keeps a
    database's password out of the list of processes, and says where S3 is.

    Examples:
      entrepot migrate --to-config new.toml
      entrepot migrate --to-database postgresql://registry@db/registry --to-storage s3://registry
      entrepot migrate --abort
    """
    config, _ = load_config(config_file)
    invocation = ctx.ensure_object(Invocation)
    opening.refuse_other_user(config, invocation)
    if is_abort:
        _take_back(config, invocation)
        return
    target = _load_target(config_file, to_config, to_database, to_storage)
    with blob_bar("Looking") as bar, opening.explained(config, invocation):
        migrated = asyncio.run(_migrate(config, target, bar, accepts_damage=accepts_damage))
    _show(migrated, target, as_json=as_json)


def _show(migrated: Migrated, target: Config, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(migrated))
    else:
        show_unsaved(migrated.damaged)
        typer.echo(_sum_up(migrated, target))
    if migrated.damaged:
        raise typer.Exit(1)


def _load_target(config_file: Path | None, file: Path | None, database: str | None, storage: str | None) -> Config:
    """The settings of the moved registry: those of its file, or the ones here with other places. Raises Refused."""
    if file is None and database is None and storage is None:
        raise typer.BadParameter("say where to: --to-config, or --to-database and --to-storage")
    if file is not None and (database is not None or storage is not None):
        raise typer.BadParameter("say --to-config, or --to-database and --to-storage, not both")
    try:
        if file is not None:
            return load(file, environment={})[0]
        return load(config_file, {"database": database, "storage": storage})[0]
    except ConfigInvalid as problem:
        text = str(problem)
        for name in ("database", "storage"):
            text = text.replace(f"--{name}", f"--to-{name}")
        raise Refused(text) from None


def _take_back(config: Config, invocation: Invocation) -> None:
    with opening.explained(config, invocation):
        place = asyncio.run(_abort(config))
    if place is None:
        typer.echo("The registry had not moved: nothing is changed")
        return
    typer.echo("The registry is here again")
    print_hint(f"What was pushed to {place} meanwhile is not. Its database is to be emptied before the next try.")


async def _abort(config: Config) -> str | None:
    registry = _open(config)
    try:
        return await take_back(registry.database)
    finally:
        registry.close()


async def _migrate(config: Config, target: Config, bar: Bar, *, accepts_damage: bool) -> Migrated:
    def tell(description: str, size: int) -> None:
        bar.begin(size, description)

    source_registry = _open(config)
    try:
        target_registry = Registry(target)
        try:
            migration = Migration(_side(source_registry), _side(target_registry), tell, bar.advance)
            return await migration.run(accepts_damage=accepts_damage)
        finally:
            target_registry.close()
    except (CannotMigrate, KeyInvalid) as problem:
        raise Refused(str(problem)) from None
    except StoreFull as problem:
        raise Refused(f"{', '.join(name_places(target))}: there is no room: {problem}") from None
    finally:
        source_registry.close()


def _open(config: Config) -> Registry:
    """Raises Refused: opening would make one."""
    if config.is_embedded and not config.database_path.exists():
        raise Refused(f"there is no registry in {config.database_path.parent}")
    return Registry(config)


def _side(registry: Registry) -> Side:
    return Side(registry.database, registry.store, *name_places(registry.config))


def _sum_up(migrated: Migrated, target: Config) -> str:
    place = ", ".join(name_places(target))
    if migrated.was_done:
        return f"The registry is in {place} already"
    known = f", {show_count(migrated.known_blobs, 'blob')} had been copied before" if migrated.known_blobs else ""
    return (
        f"Moved to {place}: {show_count(migrated.blobs, 'blob')} of {show_size(migrated.blob_bytes)} copied{known};"
        f" pushes waited for {migrated.pause:.1f} s.\n"
        "Start servers with these places now. Those that still run here serve pulls, and refuse everything else"
    )

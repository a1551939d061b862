"""`entrepot scrub`: are the blobs' bytes still the ones that were pushed?"""

from dataclasses import dataclass

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from registry.app import Registry
from registry.cli import opening
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import make_console, print_json, print_table, show_count, show_size
from registry.identity import Actor
from registry.scrub import Damage

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class _Report:
    """How many blobs and bytes were read, and what is damaged."""

    blobs: int
    size: int
    damages: list[Damage]


@app.command()
def scrub(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """Read every blob again, and find those that are damaged.

    It may run beside the server, which does the same slowly by itself (see
    ENTREPOT_SCRUB_MIB_PER_SECOND). A damaged blob is not served or mounted from
    then on: clients are told that it is not there, so the next push of an image
    that has it brings it again, which repairs it. BREAKS names the tags that
    cannot be pulled until then. Exit status 1 when something is damaged.

    The problem is missing, truncated, changed (as many bytes, but others) or
    unreadable (the disk gives an error). One that is whole again, because its
    file came back from a backup, is served again.

    Examples:
      entrepot scrub
      entrepot scrub --json | jq -r '.damaged[].broken[].tags[]'
    """
    report = opening.change(ctx, config_file, _scrub)
    if as_json:
        print_json(_document(report))
    else:
        if report.damages:
            rows = [(_problem(each), each.digest, each.key, each.describe()) for each in report.damages]
            print_table(("PROBLEM", "DIGEST", "KEY", "BREAKS"), rows)
        typer.echo(_sum_up(report))
    if report.damages:
        raise typer.Exit(1)


async def _scrub(registry: Registry, by: Actor) -> _Report:
    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        _, size = await registry.scrub.measure()
        task = progress.add_task("Reading blobs", total=size)
        sizes: list[int] = []

        def advance(read: int) -> None:
            sizes.append(read)
            progress.advance(task, read)

        damages = [damage async for damage in registry.scrub.run(advance, by)]
        return _Report(len(sizes), sum(sizes), damages)


def _document(report: _Report) -> dict[str, object]:
    return {
        "blobs": report.blobs,
        "bytes": report.size,
        "damaged": [
            {
                "digest": each.digest,
                "key": each.key,
                "problem": each.problem,
                "cause": each.cause or None,
                "broken": [
                    {"repository": broken.repository.value, "tags": list(broken.tags)} for broken in each.broken
                ],
                "has_more": each.has_more,
            }
            for each in report.damages
        ],
    }


def _problem(damage: Damage) -> str:
    return f"{damage.problem} ({damage.cause})" if damage.cause else damage.problem


def _sum_up(report: _Report) -> str:
    damage = f"{len(report.damages)} damaged" if report.damages else "all are whole"
    return f"{show_count(report.blobs, 'blob')}, {show_size(report.size)}: {damage}"

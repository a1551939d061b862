"""`entrepot audit`: who did what, and what was refused."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from registry.app import Registry
from registry.audit import describe
from registry.cli import opening
from registry.cli.instants import parse_since
from registry.cli.options import ConfigFile
from registry.cli.output import exact_instant, print_json_line, print_table, show_instant
from registry.metadata.changes import Change

_PAGE = 1000

app = typer.Typer(add_completion=False)


@app.command()
def audit(
    ctx: typer.Context,
    since: Annotated[str, typer.Option(metavar="WHEN", help="From when on: 90m, 24h, 7d ago, or an instant.")] = "24h",
    action: Annotated[str, typer.Option(metavar="PREFIX", help="Only actions that begin so: login, user., tag.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, instants in UTC.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Show who did what, and what was refused.

    The oldest comes first. Pulls and the challenges that every client meets are
    not in it. A server writes refusals about every second.

    Examples:
      entrepot audit --since 7d --action login.fail
      entrepot audit --since 2027-01-31 --json | jq 'select(.tag == "v1")'
    """
    moment = parse_since(since)
    show = _print_lines if as_json else _print_rows

    async def work(registry: Registry) -> None:
        await _page(registry, moment.before(registry.clock()), action, show)

    opening.read(ctx, config_file, work)


async def _page(registry: Registry, since: int, prefix: str, show: Callable[[Sequence[Change], bool], None]) -> None:
    """Hand over one page after the other, with whether it is the first: the log may be longer than memory."""
    last, is_first = 0, True
    while page := await registry.audit.list_after(last, since, _PAGE):
        found = [change for change in page if change.action.startswith(prefix)]
        if found:
            show(found, is_first)
            is_first = False
        last = page[-1].sequence
    if is_first:
        show((), is_first)


def _print_lines(changes: Sequence[Change], _is_first: bool) -> None:
    for change in changes:
        print_json_line(describe(change) | {"at": exact_instant(change.at)})


def _print_rows(changes: Sequence[Change], is_first: bool) -> None:
    rows = [
        (
            show_instant(change.at),
            change.actor or "-",
            change.address or "-",
            change.action,
            _show_object(change),
            change.detail or "-",
            change.times,
            change.request_id or "-",
        )
        for change in changes
    ]
    columns = ("AT", "WHO", "FROM", "ACTION", "WHAT", "DETAIL", "TIMES", "REQUEST")
    print_table(columns, rows, numbers=("TIMES",), has_header=is_first)


def _show_object(change: Change) -> str:
    tag, digest = (change.tag and f":{change.tag}"), (change.digest and f"@{change.digest}")
    return " ".join(filter(None, (f"{change.repository}{tag}{digest}", change.subject))) or "-"

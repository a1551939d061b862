"""`entrepot key`: list, rotate."""

from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_json, print_table, show_instant
from registry.identity import Actor

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List and replace the keys that sign tokens.")


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the keys that sign tokens, or still verify those that are out there.

    The server replaces its key every 30 days by itself.

    Examples:
      entrepot key list
    """
    keys = opening.read(ctx, config_file, lambda registry: registry.tokens.list_keys())
    if as_json:
        documents = [
            {
                "kid": kid,
                "created_at": exact_instant(made_at),
                "state": "signs" if ends_at is None else "verifies",
                "ends_at": None if ends_at is None else exact_instant(ends_at),
            }
            for kid, made_at, ends_at in keys
        ]
        print_json({"keys": documents})
        return
    rows = [
        (kid, show_instant(made_at), "signs" if ends_at is None else f"verifies until {show_instant(ends_at)}")
        for kid, made_at, ends_at in keys
    ]
    print_table(("KEY", "MADE AT", "STATE"), rows)


@app.command()
def rotate(
    ctx: typer.Context,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Refuse every token that is out there: for a key that others may have.")
    ] = False,
    config_file: ConfigFile = None,
) -> None:
    """Sign with a new key from now on.

    Tokens of the old key go on until they expire, unless --at-once is said:
    then clients must ask for new ones, which they do by themselves.

    Examples:
      entrepot key rotate
      entrepot key rotate --at-once
    """

    async def work(registry: Registry, by: Actor) -> str:
        await registry.tokens.rotate(by, at_once=at_once)
        return next(kid for kid, _, ends_at in await registry.tokens.list_keys() if ends_at is None)

    typer.echo(f"key {opening.change(ctx, config_file, work)} signs from now on")

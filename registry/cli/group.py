"""`entrepot group`: add, list, join, leave, remove."""

from typing import Annotated

import typer

from registry.cli import identities, opening
from registry.cli.names import NameArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_hint, print_json, print_table, show_instant
from registry.metadata.identities import Kind

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Add, change and list groups of users.")

_UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]


@app.command()
def add(
    ctx: typer.Context,
    name: NameArgument,
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER]...", help="Its first members.")] = None,
    config_file: ConfigFile = None,
) -> None:
    """Add a group. Its members have what the group is granted, beside their own grants.

    Examples:
      entrepot group add developers alice bob
      entrepot user grant developers 'acme/**' pull,push
    """
    members = users or []
    opening.change(ctx, config_file, lambda registry, by: registry.identities.add_group(name, members, by))
    print_hint(f"{name} has no grant yet: entrepot user grant {name} 'GLOB' pull,push")
    typer.echo(f"group {name} is added, with {', '.join(members) or 'no members'}")


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the groups, with their members and grants.

    Examples:
      entrepot group list
      entrepot group list --json | jq -r '.groups[] | select(.members == []).name'
    """
    groups = opening.read(ctx, config_file, lambda registry: registry.identities.list_kind(Kind.GROUP))
    if as_json:
        documents = [
            {
                "name": each.identity.name,
                "members": each.members,
                "grants": identities.describe_grants(each.grants),
                "created_at": exact_instant(each.identity.created_at),
                "created_by": each.identity.created_by,
            }
            for each in groups
        ]
        print_json({"groups": documents})
        return
    rows = [
        (
            each.identity.name,
            ", ".join(each.members) or "-",
            identities.show_grants(each.grants),
            show_instant(each.identity.created_at),
        )
        for each in groups
    ]
    print_table(("GROUP", "MEMBERS", "GRANTS", "MADE AT"), rows)


@app.command()
def join(ctx: typer.Context, name: NameArgument, user: _UserArgument, config_file: ConfigFile = None) -> None:
    """Make a user a member of a group.

    Examples:
      entrepot group join developers carol
    """
    opening.change(ctx, config_file, lambda registry, by: registry.identities.join(name, user, by))
    typer.echo(f"{user} is a member of {name}")


@app.command()
def leave(ctx: typer.Context, name: NameArgument, user: _UserArgument, config_file: ConfigFile = None) -> None:
    """End a user's membership of a group; the rights it gave end at once.

    Examples:
      entrepot group leave developers carol
    """
    opening.change(ctx, config_file, lambda registry, by: registry.identities.leave(name, user, by))
    typer.echo(f"{user} is no longer a member of {name}")


@app.command()
def remove(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Remove a group with its grants; its members stay users.

    Examples:
      entrepot group remove developers
    """
    identities.remove(ctx, config_file, Kind.GROUP, name)

"""`entrepot robot`: add, list, rotate, disable, enable, remove."""

from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import identities, opening
from registry.cli.instants import parse_expiry
from registry.cli.names import NameArgument, parse_grants
from registry.cli.options import ActionsOption, AsJson, ConfigFile, RepositoryGlobOption, TagsOption
from registry.cli.output import print_hint, print_json, print_secret, print_table
from registry.identities import Listed
from registry.identity import Actor
from registry.metadata.identities import Kind

_EXPIRES = "When it ends: 12h, 90d, 2027-01-31 (its first moment in UTC), an instant, or never."

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Add, change and list robots: logins for programs.")


@app.command()
def add(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    name: NameArgument,
    *,
    repository: RepositoryGlobOption,
    actions: ActionsOption,
    tags: TagsOption = "",
    expires: Annotated[str, typer.Option(metavar="WHEN", help=_EXPIRES)] = "365d",
    config_file: ConfigFile = None,
) -> None:
    r"""Add a robot: a login for one program, with a secret that is printed once.

    A robot has the rights that it is granted and no others. `entrepot user grant`
    gives it more. It expires after a year if nothing else is said.

    Examples:
      entrepot robot add ci --repository 'acme/**' --actions pull,push
      entrepot robot add nightly --repository acme/app --actions pull,create \
        --tags 'nightly-*' --expires 90d
    """
    grants, expiry = parse_grants(repository, actions, tags), parse_expiry(expires)

    async def work(registry: Registry, by: Actor) -> tuple[str, int | None, str]:
        expires_at = expiry.after(registry.clock())
        added = registry.identities.add_robot
        secret = await identities.tell_strangers(registry, lambda: added(name, grants, expires_at, by))
        return secret, expires_at, identities.login_line(registry, name)

    secret, expires_at, login = opening.change(ctx, config_file, work)
    for grant in grants:
        identities.hint_at(grant)
    print_hint(f"{name} is granted {identities.show_grants(grants)}; it expires: {identities.show_expiry(expires_at)}")
    print_hint(f"To log in with the secret on standard input: {login}")
    print_secret(f"robot {name} is added, with this secret, which is not shown again:", secret)


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the robots, with their grants, when they expire and when they were used last.

    Examples:
      entrepot robot list
      entrepot robot list --json | jq '.robots[] | select(.state == "expired")'
    """
    now, robots = opening.read(ctx, config_file, _list)
    if as_json:
        documents = [
            identities.describe(each.identity, now)
            | {
                "expires_at": identities.exact_or_none(each.identity.expires_at),
                "grants": identities.describe_grants(each.grants),
            }
            for each in robots
        ]
        print_json({"robots": documents})
        return
    rows = [
        (
            each.identity.name,
            identities.show_grants(each.grants),
            identities.show_expiry(each.identity.expires_at),
            identities.show_use(each.identity),
            identities.show_state(each.identity, now),
        )
        for each in robots
    ]
    print_table(("ROBOT", "GRANTS", "EXPIRES", "LAST USED", "STATE"), rows)


@app.command()
def rotate(
    ctx: typer.Context,
    name: NameArgument,
    expires: Annotated[str | None, typer.Option(metavar="WHEN", help=f"{_EXPIRES} Else it stays.")] = None,
    config_file: ConfigFile = None,
) -> None:
    """Give a robot a new secret, printed once; the old one ends at once.

    Examples:
      entrepot robot rotate ci
      entrepot robot rotate ci --expires 90d
    """
    expiry = parse_expiry(expires) if expires is not None else None

    async def work(registry: Registry, by: Actor) -> tuple[str, int | None, str]:
        expires_at = expiry.after(registry.clock()) if expiry else None
        is_endless = expiry is not None and expires_at is None
        secret = await registry.identities.rotate_robot(name, expires_at, by, is_endless=is_endless)
        robots = await registry.identities.list_kind(Kind.ROBOT)
        until = next((each.identity.expires_at for each in robots if each.identity.name == name), None)
        return secret, until, identities.login_line(registry, name)

    secret, until, login = opening.change(ctx, config_file, work)
    print_hint(f"{name} expires: {identities.show_expiry(until)}")
    print_hint(f"To log in with the secret on standard input: {login}")
    print_secret(f"robot {name} has this new secret, which is not shown again:", secret)


@app.command()
def disable(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Shut a robot out at once; its secret works again when it is enabled.

    Examples:
      entrepot robot disable ci
    """
    identities.disable(ctx, config_file, Kind.ROBOT, name)


@app.command()
def enable(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Let a disabled robot in again; one that has expired needs `entrepot robot rotate`.

    Examples:
      entrepot robot enable ci
    """
    identities.enable(ctx, config_file, Kind.ROBOT, name)


@app.command()
def remove(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Remove a robot with its secret and its grants.

    It does not ask: what the robot has pushed stays.

    Examples:
      entrepot robot remove ci
    """
    identities.remove(ctx, config_file, Kind.ROBOT, name)


async def _list(registry: Registry) -> tuple[int, list[Listed]]:
    return registry.clock(), await registry.identities.list_kind(Kind.ROBOT)

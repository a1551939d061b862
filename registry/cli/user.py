"""`entrepot user`: add, list, password, promote, demote, disable, enable, remove, grant, revoke, import."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import identities, opening
from registry.cli.invocation import Refused
from registry.cli.names import ActionsArgument, GlobArgument, GranteeArgument, NameArgument, parse_grant
from registry.cli.options import AsJson, ConfigFile, PasswordStdin, TagsOption
from registry.cli.output import print_hint, print_json, print_secret, print_table, show_count, show_instant
from registry.identities import Listed
from registry.identity import Actor
from registry.metadata.identities import Kind
from registry.passwords import HtpasswdInvalid, parse_htpasswd

_LONGEST_LINE = 65_536  # bytes; a longer line is cut, and then refused as too long for a password

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Add, change and list users; grant and revoke rights."
)


@app.command()
def add(
    ctx: typer.Context,
    name: NameArgument,
    is_admin: Annotated[bool, typer.Option("--admin", help="May do everything, everywhere.")] = False,
    is_password_given: PasswordStdin = False,
    config_file: ConfigFile = None,
) -> None:
    """Add a user, and make the registry if there is none yet.

    A password is made up and printed, once; nobody can read it again. Give one
    on standard input instead with --password-stdin: never as an argument, which
    every user of the machine could see.

    With the first user protected mode ends: strangers may no longer do anything.

    Examples:
      entrepot user add alice --admin
      entrepot user add bob --password-stdin < password.txt
    """
    password = _read_password() if is_password_given else None

    async def work(registry: Registry, by: Actor) -> str:
        made = registry.identities.add_user
        return await identities.tell_strangers(registry, lambda: made(name, password, by, is_admin=is_admin))

    secret = opening.make(ctx, config_file, work)
    if not is_admin:
        print_hint(f"{name} has no grant yet: entrepot user grant {name} 'GLOB' pull,push")
    if is_password_given:
        typer.echo(f"user {name} is added")
    else:
        print_secret(f"user {name} is added, with this password, which is not shown again:", secret)


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the users, with their grants and groups.

    What is granted to anonymous is what everyone may do, known or not.

    Examples:
      entrepot user list
      entrepot user list --json | jq -r '.users[] | select(.admin).name'
    """
    now, users, groups, everybody = opening.read(ctx, config_file, _list)
    memberships = {
        each.identity.name: [group.identity.name for group in groups if each.identity.name in group.members]
        for each in users
    }
    if as_json:
        documents = [
            identities.describe(each.identity, now)
            | {
                "admin": each.identity.is_admin,
                "grants": identities.describe_grants(each.grants),
                "groups": memberships[each.identity.name],
            }
            for each in users
        ]
        anonymous = {"grants": identities.describe_grants(everybody.grants)}
        print_json({"users": documents, "anonymous": anonymous})
        return
    rows = [
        (
            each.identity.name,
            "everything (admin)" if each.identity.is_admin else identities.show_grants(each.grants),
            ", ".join(memberships[each.identity.name]) or "-",
            show_instant(each.identity.created_at),
            identities.show_use(each.identity),
            identities.show_state(each.identity, now),
        )
        for each in users
    ]
    if everybody.grants:
        rows.append((everybody.identity.name, identities.show_grants(everybody.grants), "-", "-", "-", "active"))
    print_table(("USER", "GRANTS", "GROUPS", "MADE AT", "LAST USED", "STATE"), rows)


@app.command()
def password(
    ctx: typer.Context,
    name: NameArgument,
    is_password_given: PasswordStdin = False,
    config_file: ConfigFile = None,
) -> None:
    """Give a user a new password; the old one ends at once, with all that it logged in.

    Examples:
      entrepot user password bob
      entrepot user password bob --password-stdin < password.txt
    """
    given = _read_password() if is_password_given else None
    secret = opening.change(ctx, config_file, lambda registry, by: registry.identities.set_password(name, given, by))
    if is_password_given:
        typer.echo(f"user {name} has a new password")
    else:
        print_secret(f"user {name} has this new password, which is not shown again:", secret)


@app.command()
def promote(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Make a user an admin, who may do everything, everywhere.

    Examples:
      entrepot user promote bob
    """
    opening.change(ctx, config_file, lambda registry, by: registry.identities.set_admin(name, by, is_admin=True))
    typer.echo(f"user {name} is an admin")


@app.command()
def demote(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Take an admin's rights: what is left is what the user was granted.

    The last admin stays one.

    Examples:
      entrepot user demote bob
    """
    opening.change(ctx, config_file, lambda registry, by: registry.identities.set_admin(name, by, is_admin=False))
    typer.echo(f"user {name} is no admin")


@app.command()
def disable(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Shut a user out at once; grants and password stay for when the user is enabled again.

    Examples:
      entrepot user disable bob
    """
    identities.disable(ctx, config_file, Kind.USER, name)


@app.command()
def enable(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Let a disabled user in again.

    Examples:
      entrepot user enable bob
    """
    identities.enable(ctx, config_file, Kind.USER, name)


@app.command()
def remove(ctx: typer.Context, name: NameArgument, config_file: ConfigFile = None) -> None:
    """Remove a user with the password, the grants and the memberships.

    It does not ask: what the user has pushed stays. A user who may come back is
    better disabled. The last admin cannot be removed.

    Examples:
      entrepot user remove bob
    """
    identities.remove(ctx, config_file, Kind.USER, name)


@app.command()
def grant(
    ctx: typer.Context,
    name: GranteeArgument,
    repositories: GlobArgument,
    actions: ActionsArgument,
    *,
    tags: TagsOption = "",
    config_file: ConfigFile = None,
) -> None:
    """Let a user, a robot, a group, a trust rule or everyone (anonymous) do something.

    ACTIONS are pull; push: new content, and tags, also those that are there;
    create: as push, but it moves no tag; delete; admin: all of them. They take
    the place of what was granted for exactly the same GLOB.

    In a GLOB * is any text within one part of a name, ** any text. Quote it.

    Examples:
      entrepot user grant bob 'acme/**' pull,push
      entrepot user grant anonymous 'public/*' pull
      entrepot user grant ci 'acme/app' pull,push --tags 'ci-*,nightly'
    """
    found = parse_grant(repositories.text, actions, tags)
    before = opening.change(ctx, config_file, lambda registry, by: registry.identities.grant(name, found, by))
    identities.hint_at(found, name)
    was = f" (it was {identities.show_grant(before)})" if before and before != found else ""
    typer.echo(f"{name} is granted {identities.show_grant(found)}{was}")


@app.command()
def revoke(
    ctx: typer.Context, name: GranteeArgument, repositories: GlobArgument, config_file: ConfigFile = None
) -> None:
    """Take a grant back, named by its GLOB; it ends at once.

    Examples:
      entrepot user revoke bob 'acme/**'
      entrepot user revoke anonymous 'public/*'
    """
    opening.change(ctx, config_file, lambda registry, by: registry.identities.revoke(name, repositories, by))
    typer.echo(f"{name} has lost the grant for {repositories}")


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="An htpasswd file; - is standard input.")],
    config_file: ConfigFile = None,
) -> None:
    """Add the users of an htpasswd file with their passwords, all or none.

    Their hashes must be bcrypt, as `htpasswd -B` makes them. The registry is made
    if there is none yet.

    Examples:
      entrepot user import /etc/registry/htpasswd
      htpasswd -nB bob | entrepot user import -
    """
    entries = _read_htpasswd(file)

    async def work(registry: Registry, by: Actor) -> None:
        await identities.tell_strangers(registry, lambda: registry.identities.import_users(entries, by))

    opening.make(ctx, config_file, work)
    print_hint("They have no grant yet: entrepot user grant NAME 'GLOB' pull,push")
    typer.echo(f"{show_count(len(entries), 'user')} added: {', '.join(name for name, _ in entries)}")


async def _list(registry: Registry) -> tuple[int, list[Listed], list[Listed], Listed]:
    known = registry.identities
    (everybody,) = await known.list_kind(Kind.ANONYMOUS)
    return registry.clock(), await known.list_kind(Kind.USER), await known.list_kind(Kind.GROUP), everybody


def _read_password() -> str:
    """Raises Refused."""
    if sys.stdin.isatty():
        typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    line = typer.get_binary_stream("stdin").readline(_LONGEST_LINE)
    try:
        text = line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Refused("the password on standard input is not UTF-8") from None
    if not text:
        raise Refused("no password came: give it in one line on standard input, or leave --password-stdin out")
    return text


def _read_htpasswd(file: str) -> list[tuple[str, str]]:
    """Raises Refused."""
    place = "standard input" if file == "-" else file
    try:
        content = typer.get_binary_stream("stdin").read() if file == "-" else Path(file).read_bytes()
        entries = parse_htpasswd(content.decode())
    except OSError as problem:
        raise Refused(f"{place} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{place} is not UTF-8, so it is no htpasswd file") from None
    except HtpasswdInvalid as problem:
        raise Refused(f"{place}: {problem}; nobody was added") from None
    if not entries:
        raise Refused(f"{place} names nobody: a line of an htpasswd file is a name, a colon and a hash")
    return entries

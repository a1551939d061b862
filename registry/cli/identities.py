"""What the commands of users, robots, groups and trust rules share: verbs, columns, members of documents, hints."""

from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import typer

from registry.access.grants import Action, Grant
from registry.app import Registry
from registry.cli import opening
from registry.cli.banner import docker_address
from registry.cli.output import exact_instant, print_hint, show_instant
from registry.metadata.identities import Identity, Kind

T = TypeVar("T")

ANONYMOUS = "anonymous"
_PROTECTION_ENDED = (
    "Protected mode is over: from now on only those who log in may do something, and only what they were granted"
    " (a grant to anonymous, or ENTREPOT_ANONYMOUS, lets others in)."
)


def disable(ctx: typer.Context, file: Path | None, kind: Kind, name: str) -> None:
    _set_disabled(ctx, file, kind, name, is_disabled=True)
    typer.echo(f"{kind.word} {name} is disabled")


def enable(ctx: typer.Context, file: Path | None, kind: Kind, name: str) -> None:
    _set_disabled(ctx, file, kind, name, is_disabled=False)
    typer.echo(f"{kind.word} {name} is enabled")


def remove(ctx: typer.Context, file: Path | None, kind: Kind, name: str) -> None:
    opening.change(ctx, file, lambda registry, by: registry.identities.remove(kind, name, by))
    typer.echo(f"{kind.word} {name} is removed")


async def tell_strangers(registry: Registry, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `work` returns. Says when it ends protected mode."""
    was_guarded = await registry.identities.is_guarded()
    result = await work()
    if registry.config.anonymous is None and not was_guarded and await registry.identities.is_guarded():
        print_hint(_PROTECTION_ENDED)
    return result


def hint_at(grant: Grant, name: str = "") -> None:
    """What is written often and meant seldom; `name` is the grantee's."""
    if name == ANONYMOUS and grant.actions != {Action.PULL}:
        print_hint(f"Mind that everyone who reaches the registry may now {grant.show_actions()} there, without login.")
    if grant.repositories.text == "*":
        print_hint(
            "Mind that * is only names of one part, such as app: ** is all repositories, team/** those of a team."
        )
    if grant.allowed & {Action.PUSH, Action.CREATE} and Action.PULL not in grant.allowed:
        print_hint("Mind that docker and most other clients also ask for pull when they push: pull,push lets them in.")


def login_line(registry: Registry, name: str) -> str:
    config = registry.config
    return f"docker login -u {name} --password-stdin {docker_address(config, *opening.find_listener(config))}"


def show_grant(grant: Grant) -> str:
    tags = f" (tags {grant.show_tags()})" if grant.tags else ""
    return f"{grant.repositories} {grant.show_actions()}{tags}"


def show_grants(grants: Iterable[Grant]) -> str:
    return "; ".join(map(show_grant, grants)) or "-"


def show_state(identity: Identity, now: int) -> str:
    if identity.disabled_at is not None:
        return "disabled"
    return "active" if identity.is_active(now) else "expired"


def show_use(identity: Identity) -> str:
    return "never" if identity.last_used_at is None else show_instant(identity.last_used_at)


def show_expiry(expires_at: int | None) -> str:
    return "never" if expires_at is None else show_instant(expires_at)


def describe(identity: Identity, now: int) -> dict[str, object]:
    """What a document says of every identity; never its secret."""
    return {
        "name": identity.name,
        "state": show_state(identity, now),
        "created_at": exact_instant(identity.created_at),
        "created_by": identity.created_by,
        "last_used_at": exact_or_none(identity.last_used_at),
    }


def describe_grants(grants: Iterable[Grant]) -> list[dict[str, object]]:
    return [
        {
            "repositories": grant.repositories.text,
            "actions": grant.show_actions().split(","),
            "tags": [glob.text for glob in grant.tags],
        }
        for grant in grants
    ]


def exact_or_none(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else exact_instant(milliseconds)


def _set_disabled(ctx: typer.Context, file: Path | None, kind: Kind, name: str, *, is_disabled: bool) -> None:
    opening.change(
        ctx, file, lambda registry, by: registry.identities.set_disabled(kind, name, by, is_disabled=is_disabled)
    )

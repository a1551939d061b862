"""`entrepot repository`: list, show, create, set, delete, restore."""

import sys
from dataclasses import replace
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Refused
from registry.cli.names import RepositoryArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_hint, print_json, print_table, show_count, show_instant, show_size
from registry.config import Config
from registry.errors import NameUnknown
from registry.identity import Actor
from registry.lifecycle.settings import NAMES, RepositorySettings, SettingInvalid, find_near
from registry.metadata.repositories import Repository, Totals
from registry.oci.names import RepositoryName

_PAGE = 1000
_MOST_COUNTED = 100_000  # tags: counting more takes too long for what it tells

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List, show, make, set, delete and restore repositories."
)

_Values = Annotated[
    list[str],
    typer.Argument(metavar="KEY=VALUE...", help=f"Of {', '.join(NAMES)}; an empty value unsets."),
]


@app.command("list")
def list_(
    ctx: typer.Context,
    is_deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted and can be restored.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """List the repositories, with what each of them holds.

    SIZE counts each blob of the repository once, shared with others or not; also
    what is deleted and can come back. With --deleted: until when each can be
    restored, for certain.

    Examples:
      entrepot repository list
      entrepot repository list --deleted
      entrepot repository list --json | jq -r '.repositories[].name'
    """
    if is_deleted:
        _print_deleted(opening.read(ctx, config_file, _list_deleted), as_json=as_json)
        return
    found = opening.read(ctx, config_file, _list)
    if as_json:
        print_json({"repositories": [_document(*each) for each in found]})
        return
    rows = [
        (repository.name, totals.tags, totals.manifests, totals.blobs, show_size(totals.blob_bytes))
        for repository, totals in found
    ]
    columns = ("REPOSITORY", "TAGS", "MANIFESTS", "BLOBS", "SIZE")
    print_table(columns, rows, numbers=columns[1:])


@app.command()
def show(ctx: typer.Context, name: RepositoryArgument, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """Show one repository: what it holds, who made it when, and its settings.

    The size counts each blob once, shared with other repositories or not; also
    what is deleted and can come back.

    Examples:
      entrepot repository show demo/app
    """

    async def work(registry: Registry) -> tuple[Repository, Totals, Config]:
        return *await registry.repositories.show(name), registry.config

    repository, totals, config = opening.read(ctx, config_file, work)
    if as_json:
        print_json(_document(repository, totals))
        return
    facts = {
        "repository": repository.name,
        "tags": totals.tags,
        "manifests": totals.manifests,
        "blobs": totals.blobs,
        "size": show_size(totals.blob_bytes),
        "made at": show_instant(repository.created_at),
        "made by": f"{repository.created_by} ({repository.cause})",
        "lifecycle policy": f"yes: entrepot lifecycle show {name}" if totals.has_policy else "no",
        **_show_settings(repository.settings, config),
    }
    print_table(("FACT", "VALUE"), facts.items())


@app.command()
def create(ctx: typer.Context, name: RepositoryArgument, config_file: ConfigFile = None) -> None:
    """Make an empty repository, to give it settings or a policy before its first push.

    A push makes the repository that it needs, so nothing else needs this.

    Examples:
      entrepot repository create demo/app
    """
    opening.change(ctx, config_file, lambda registry, by: registry.repositories.create(name, by))
    typer.echo(f"{name} is made")


@app.command("set")
def set_(ctx: typer.Context, name: RepositoryArgument, values: _Values, config_file: ConfigFile = None) -> None:
    """Change settings of a repository; others stay as they are.

    immutability   mutable, immutable, or one of these _with_exclusion: whether a
                   tag that points to something may be moved to something else
    exclude        patterns of the tags to which that mode does not apply
    protect        patterns of the tags that nobody deletes and no policy expires
    undelete_days  how long what was deleted can come back; 0 is not at all
    brake_percent  how much of its images a lifecycle run may remove at once

    Patterns are separated by commas; * is any text.

    Examples:
      entrepot repository set demo/app immutability=immutable
      entrepot repository set demo/app immutability=immutable_with_exclusion exclude='latest,dev-*'
      entrepot repository set demo/app protect='v*,stable' undelete_days=30
      entrepot repository set demo/app protect=
    """
    wanted = dict(_parse_value(text) for text in values)

    async def work(registry: Registry, by: Actor) -> tuple[RepositorySettings, tuple[int, int] | None]:
        settings = await registry.repositories.set(name, wanted, by)
        is_asked = "protect" in wanted and settings.protected
        return settings, await _count_protected(registry, name, settings) if is_asked else None

    try:
        settings, counts = opening.change(ctx, config_file, work)
    except SettingInvalid as problem:
        raise typer.BadParameter(str(problem)) from None
    shown = " ".join(f"{key}={value}" for key, value in settings.describe().items())
    typer.echo(f"{name} has {shown}" if shown else f"{name} has the settings of the registry")
    if counts:
        print_hint(f"tags that it protects now: {counts[0]} of {counts[1]}")


@app.command()
def delete(
    ctx: typer.Context,
    name: RepositoryArgument,
    is_confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Delete a repository with all its tags and manifests.

    It asks before it does so; in a script, where nobody can be asked, it wants
    --yes. Blobs that other repositories share stay theirs. Until its undelete
    window ends it can be restored.

    Examples:
      entrepot repository delete demo/app
      entrepot repository delete demo/app --yes
    """
    if not is_confirmed:
        # Outside the event loop, which would keep Ctrl+C to itself; as a change, to ask nobody who may not make it.
        _, totals = opening.change(ctx, config_file, lambda registry, _by: registry.repositories.show(name))
        _confirm(name, totals)
    until = opening.change(ctx, config_file, lambda registry, by: _delete(registry, name, by))
    typer.echo(f"{name} is deleted")
    if until:
        print_hint(f"until {show_instant(until)} `entrepot repository restore {name}` brings it back")


@app.command()
def restore(ctx: typer.Context, name: RepositoryArgument, config_file: ConfigFile = None) -> None:
    """Bring back the repository of that name that was deleted last.

    It has its settings, its policy and its tags again, as they were when it was
    deleted. Not where there is a new repository of that name.

    Examples:
      entrepot repository list --deleted
      entrepot repository restore demo/app
    """
    tags = opening.change(ctx, config_file, lambda registry, by: registry.repositories.restore(name, by))
    typer.echo(f"{name} is restored, with {show_count(tags, 'tag')}")


def _parse_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in NAMES:
        near = find_near(name) if equals else None
        meant = f": did you mean {near}?" if near else ""
        raise typer.BadParameter(f"it is KEY=VALUE, with a key of {', '.join(NAMES)}, not {text[:100]!r}{meant}")
    return name, value


def _confirm(name: RepositoryName, totals: Totals) -> None:
    if not sys.stdin.isatty():
        raise Refused(f"nobody is here to confirm that {name} shall be deleted: say --yes")
    tags, manifests = show_count(totals.tags, "tag"), show_count(totals.manifests, "manifest")
    question = f"Delete {name} with {tags}, {manifests} and {show_size(totals.blob_bytes)} of blobs?"
    try:
        is_wanted = typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # the question's line has no end yet
        is_wanted = False
    if not is_wanted:
        raise Refused("aborted, nothing is deleted")


async def _count_protected(
    registry: Registry, name: RepositoryName, settings: RepositorySettings
) -> tuple[int, int] | None:
    """How many tags are protected, and how many there are; None for too many."""
    _, totals = await registry.repositories.show(name)
    if totals.tags > _MOST_COUNTED:
        return None
    found = protected = 0
    after = ""
    while names := await registry.tags.list_names(name, after, _PAGE):
        found += len(names)
        protected += sum(map(settings.is_protected, names))
        after = names[-1]
    return protected, found


async def _delete(registry: Registry, name: RepositoryName, by: Actor) -> int | None:
    """Until when it can be restored (Unix milliseconds); None when it cannot, as when nothing was in it."""
    repository, _ = await registry.repositories.show(name)
    before = replace(repository, deleted_at=registry.clock() - 1)
    await registry.repositories.delete(name, by)
    deleted = next(iter(await registry.repositories.list_deleted(before, 1)), None)
    if deleted is None or deleted.id != repository.id:
        return None
    until = _end_window(deleted, registry.config)
    return until if until > (deleted.deleted_at or 0) else None


async def _list(registry: Registry) -> list[tuple[Repository, Totals]]:
    found: list[tuple[Repository, Totals]] = []
    after = ""
    while names := await registry.repositories.list_names(after, _PAGE):
        for name in names:
            try:
                found.append(await registry.repositories.show(name))
            except NameUnknown:
                continue  # deleted since the page was read
        after = names[-1].value
    return found


async def _list_deleted(registry: Registry) -> list[tuple[Repository, int]]:
    """The last one of each name, with the instant until which it can be restored (Unix milliseconds)."""
    found: dict[str, Repository] = {}
    after: Repository | None = None
    while page := await registry.repositories.list_deleted(after, _PAGE):
        found |= {repository.name.value: repository for repository in page}
        after = page[-1]
    return [(repository, _end_window(repository, registry.config)) for repository in found.values()]


def _end_window(repository: Repository, config: Config) -> int:
    return repository.settings.end_window(repository.deleted_at or 0, config.undelete_days)


def _print_deleted(found: list[tuple[Repository, int]], *, as_json: bool) -> None:
    if as_json:
        documents = [
            {
                "name": repository.name.value,
                "deleted_at": exact_instant(repository.deleted_at or 0),
                "restorable_until": exact_instant(until),
            }
            for repository, until in found
        ]
        print_json({"repositories": documents})
        return
    rows = [
        (repository.name, show_instant(repository.deleted_at or 0), show_instant(until)) for repository, until in found
    ]
    print_table(("REPOSITORY", "DELETED AT", "RESTORABLE UNTIL"), rows)


def _show_settings(settings: RepositorySettings, config: Config) -> dict[str, str]:
    """Each setting of a repository, also where the registry's own holds."""
    mine = settings.describe()
    registrys = {"undelete_days": config.undelete_days, "brake_percent": config.brake_percent}
    return {"immutability": settings.immutability} | {
        name: mine.get(name) or (f"{registrys[name]} (the registry's)" if name in registrys else "none")
        for name in NAMES
        if name != "immutability" and (name != "exclude" or settings.excluded)
    }


def _document(repository: Repository, totals: Totals) -> dict[str, object]:
    return {
        "name": repository.name.value,
        "tags": totals.tags,
        "manifests": totals.manifests,
        "blobs": totals.blobs,
        "blob_bytes": totals.blob_bytes,
        "created_at": exact_instant(repository.created_at),
        "created_by": repository.created_by,
        "cause": repository.cause,
        "has_policy": totals.has_policy,
        "settings": repository.settings.describe(),
    }

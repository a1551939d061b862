"""`entrepot tag`: list, history, restore."""

from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.instants import parse_at
from registry.cli.invocation import Refused
from registry.cli.names import RepositoryArgument, TagArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_hint, print_json, print_table, show_count, show_instant
from registry.errors import ManifestUnknown
from registry.identity import Actor
from registry.metadata.tags import TagRow
from registry.oci.names import RepositoryName, Tag
from registry.tags import RestoredTag

_PAGE = 1000

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List tags, show what they pointed to, and go back to that."
)

_At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="WHEN", help="An instant, or 90m, 24h, 7d ago. A date is its beginning, a second its end."
    ),
]


@app.command("list")
def list_(
    ctx: typer.Context, repository: RepositoryArgument, as_json: AsJson = False, config_file: ConfigFile = None
) -> None:
    """List a repository's tags, with what they point to.

    SET AT is when the tag was pointed there, SET BY is who did it.

    Examples:
      entrepot tag list demo/app
    """
    found = opening.read(ctx, config_file, lambda registry: _list(registry, repository))
    if as_json:
        tags = [
            {"tag": name, "digest": row.digest, "set_at": exact_instant(row.valid_from), "set_by": row.set_by}
            for name, row in found
        ]
        print_json({"repository": repository.value, "tags": tags})
        return
    rows = [(name, row.digest, show_instant(row.valid_from), row.set_by) for name, row in found]
    print_table(("TAG", "DIGEST", "SET AT", "SET BY"), rows)


@app.command()
def history(  # noqa: PLR0913, PLR0917 - each is a flag
    ctx: typer.Context,
    repository: RepositoryArgument,
    tag: TagArgument,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    at: _At = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Show what a tag points to and pointed to before, the latest first.

    A tag that was moved or deleted keeps its history. With --at it is only what
    the tag pointed to at that instant.

    Examples:
      entrepot tag history demo/app latest
      entrepot tag history demo/app latest --at 2027-01-31T18:00
      entrepot tag history demo/app latest --limit 3 --json
    """
    moment = parse_at(at) if at is not None else None

    async def work(registry: Registry) -> list[TagRow]:
        found = await registry.tags.list_history(repository, tag, limit)
        if not found:
            raise Refused(f"{repository} never had a tag {tag}: `entrepot tag list {repository}` lists those it has")
        if moment is None:
            return found
        instant = moment.before(registry.clock())
        at_that = await registry.tags.list_at(repository, tag, instant)
        if not at_that:
            raise Refused(f"{tag} pointed to nothing at {show_instant(instant)}: {_see_history(repository, tag)}")
        return at_that

    found = opening.read(ctx, config_file, work)
    if as_json:
        print_json({"repository": repository.value, "tag": tag.value, "history": [_document(row) for row in found]})
        return
    rows = [
        (row.digest, show_instant(row.valid_from), show_instant(row.valid_to) if row.valid_to else "now", row.set_by)
        for row in found
    ]
    print_table(("DIGEST", "FROM", "TO", "SET BY"), rows)


@app.command()
def restore(
    ctx: typer.Context,
    repository: RepositoryArgument,
    tag: TagArgument,
    at: _At = None,
    config_file: ConfigFile = None,
) -> None:
    """Point a tag to what it pointed to before.

    A deleted tag comes back as it was last; any other goes back to before its
    last move. With --at it is what it pointed to at that instant.

    What it points to then is brought back too if it was deleted, with all that
    it names, as long as its undelete window lasts. An immutable tag that points
    to something else is not moved.

    Examples:
      entrepot tag restore demo/app latest
      entrepot tag restore demo/app latest --at 2027-01-31T18:00
      entrepot tag restore demo/app latest --at 2h
    """
    moment = parse_at(at) if at is not None else None

    async def work(registry: Registry, by: Actor) -> tuple[RestoredTag, bool]:
        instant = moment.before(registry.clock()) if moment else None
        restored = await _restore(registry, repository, tag, instant, by)
        _, totals = await registry.repositories.show(repository)
        return restored, totals.has_policy

    restored, has_policy = opening.change(ctx, config_file, work)
    typer.echo(_tell(repository, tag, restored))
    if restored.revived and has_policy:
        print_hint(f"its lifecycle policy may expire it again: `entrepot lifecycle preview {repository}` shows that")


async def _list(registry: Registry, repository: RepositoryName) -> list[tuple[str, TagRow]]:
    found: list[tuple[str, TagRow]] = []
    while page := await registry.tags.list_current(repository, found[-1][0] if found else "", _PAGE):
        found += page
    return found


async def _restore(registry: Registry, repository: RepositoryName, tag: Tag, at: int | None, by: Actor) -> RestoredTag:
    """Raises Refused in place of ManifestUnknown, with the command that shows what there is to go back to."""
    try:
        return await registry.tags.restore(repository, tag, at, by)
    except ManifestUnknown as problem:
        if await registry.tags.list_history(repository, tag, 1):
            raise Refused(f"{problem}; {_see_history(repository, tag)}") from None
        raise Refused(
            f"there never was a tag {tag}: `entrepot tag list {repository}` lists those there are, and `entrepot tag"
            f" history {repository} TAG` shows what one pointed to, also one that was deleted"
        ) from None


def _tell(repository: RepositoryName, tag: Tag, restored: RestoredTag) -> str:
    name = f"{repository}:{tag}"
    if restored.before == restored.digest:
        return f"{name} points to {restored.digest} already"
    before = f"to {restored.before}" if restored.before else "nowhere"
    revived = show_count(len(restored.revived), "manifest")
    also = f"; {revived} that had been deleted came back for it" if restored.revived else ""
    return f"{name} points to {restored.digest} again, after it pointed {before}{also}"


def _see_history(repository: RepositoryName, tag: Tag) -> str:
    return f"`entrepot tag history {repository} {tag}` shows what it pointed to, and when"


def _document(row: TagRow) -> dict[str, object]:
    return {
        "digest": row.digest,
        "from": exact_instant(row.valid_from),
        "to": None if row.valid_to is None else exact_instant(row.valid_to),
        "set_by": row.set_by,
    }

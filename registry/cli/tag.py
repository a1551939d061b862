"""`entrepot tag`: list, history."""

from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Refused
from registry.cli.names import RepositoryArgument, TagArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_json, print_table, show_instant
from registry.metadata.tags import TagRow
from registry.oci.names import RepositoryName

_PAGE = 1000

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List tags, and show what they pointed to in the past."
)


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
def history(
    ctx: typer.Context,
    repository: RepositoryArgument,
    tag: TagArgument,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Show what a tag points to and pointed to before, the latest first.

    A tag that was moved or deleted keeps its history.

    Examples:
      entrepot tag history demo/app latest
      entrepot tag history demo/app latest --limit 3 --json
    """
    found = opening.read(ctx, config_file, lambda registry: registry.tags.list_history(repository, tag, limit))
    if not found:
        raise Refused(f"{repository} never had a tag {tag}: `entrepot tag list {repository}` lists those it has")
    if as_json:
        print_json({"repository": repository.value, "tag": tag.value, "history": [_document(row) for row in found]})
        return
    rows = [
        (row.digest, show_instant(row.valid_from), show_instant(row.valid_to) if row.valid_to else "now", row.set_by)
        for row in found
    ]
    print_table(("DIGEST", "FROM", "TO", "SET BY"), rows)


async def _list(registry: Registry, repository: RepositoryName) -> list[tuple[str, TagRow]]:
    found: list[tuple[str, TagRow]] = []
    while page := await registry.tags.list_current(repository, found[-1][0] if found else "", _PAGE):
        found += page
    return found


def _document(row: TagRow) -> dict[str, object]:
    return {
        "digest": row.digest,
        "from": exact_instant(row.valid_from),
        "to": None if row.valid_to is None else exact_instant(row.valid_to),
        "set_by": row.set_by,
    }

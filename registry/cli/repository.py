"""`entrepot repository`: list, show, delete."""

import sys
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Refused
from registry.cli.names import RepositoryArgument
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_json, print_table, show_count, show_instant, show_size
from registry.errors import NameUnknown
from registry.metadata.repositories import Repository, Totals
from registry.oci.names import RepositoryName

_PAGE = 1000

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, show and delete repositories.")


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the repositories, with what each of them holds.

    SIZE counts each blob of the repository once, shared with others or not.

    Examples:
      entrepot repository list
      entrepot repository list --json | jq -r '.repositories[].name'
    """
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
    """Show one repository: what it holds, and who made it when.

    A repository is made by its first push.

    Examples:
      entrepot repository show demo/app
    """
    repository, totals = opening.read(ctx, config_file, lambda registry: registry.repositories.show(name))
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
    }
    print_table(("FACT", "VALUE"), facts.items())


@app.command()
def delete(
    ctx: typer.Context,
    name: RepositoryArgument,
    is_confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Delete a repository with all its tags and manifests.

    It asks before it does so; in a script, where nobody can be asked, it wants
    --yes. Blobs that other repositories share stay theirs.

    Examples:
      entrepot repository delete demo/app
      entrepot repository delete demo/app --yes
    """
    if not is_confirmed:
        # Outside the event loop, which would keep Ctrl+C to itself; as a change, to ask nobody who may not make it.
        _, totals = opening.change(ctx, config_file, lambda registry, _by: registry.repositories.show(name))
        _confirm(name, totals)
    opening.change(ctx, config_file, lambda registry, by: registry.repositories.delete(name, by))
    typer.echo(f"{name} is deleted")


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
    }

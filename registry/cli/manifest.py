"""`entrepot manifest`: delete, restore."""

import typer

from registry.access.grants import EVERYTHING, Permission
from registry.app import Registry
from registry.cli import opening
from registry.cli.names import DigestArgument, ReferenceArgument, RepositoryArgument, parse_tag_or_digest
from registry.cli.options import ConfigFile
from registry.cli.output import print_hint, show_count
from registry.identity import Actor
from registry.oci.names import Tag
from registry.oci.preconditions import NO_PRECONDITIONS

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Delete manifests and tags, and restore deleted manifests."
)


@app.command()
def delete(
    ctx: typer.Context, repository: RepositoryArgument, reference: ReferenceArgument, config_file: ConfigFile = None
) -> None:
    """Delete a tag, or a manifest with all its tags.

    A tag goes alone: what it points to stays. A digest takes the manifest and
    every tag that points to it. Both can be restored until the undelete window
    ends: `entrepot tag restore`, `entrepot manifest restore`.

    Examples:
      entrepot manifest delete demo/app 1.0
      entrepot manifest delete demo/app sha256:2c26b46b...
    """
    target = parse_tag_or_digest(reference)

    async def work(registry: Registry, by: Actor) -> None:
        permission = Permission((EVERYTHING,))
        await registry.manifests.delete(repository, target, NO_PRECONDITIONS, by, permission)

    opening.change(ctx, config_file, work)
    if isinstance(target, Tag):
        typer.echo(f"the tag {repository}:{reference} is deleted, and what it pointed to stays")
    else:
        typer.echo(f"{reference} is deleted from {repository}, with its tags")


@app.command()
def restore(
    ctx: typer.Context, repository: RepositoryArgument, digest: DigestArgument, config_file: ConfigFile = None
) -> None:
    """Bring a deleted manifest back, with all that it names.

    Its children and blobs come with it, whole or not at all. Its tags do not:
    `entrepot tag restore` brings each of them back, together with the manifest.

    Examples:
      entrepot manifest restore demo/app sha256:2c26b46b...
    """

    async def work(registry: Registry, by: Actor) -> tuple[list[str], bool]:
        revived = await registry.manifests.restore(repository, digest, by)
        _, totals = await registry.repositories.show(repository)
        return revived, totals.has_policy

    revived, has_policy = opening.change(ctx, config_file, work)
    if not revived:
        typer.echo(f"{digest} is in {repository} already, and whole")
        return
    children = len(revived) - (str(digest) in revived)
    also = f", with {show_count(children, 'deleted manifest')} that it names" if children else ""
    typer.echo(f"{digest} is restored in {repository}{also}")
    if has_policy:
        print_hint(f"its lifecycle policy may expire it again: `entrepot lifecycle preview {repository}` shows that")

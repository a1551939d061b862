"""`entrepot manifest`: list, delete, restore."""

from typing import Annotated

import typer

from registry.access.grants import EVERYTHING, Permission
from registry.app import Registry
from registry.cli import opening
from registry.cli.names import DigestArgument, ReferenceArgument, RepositoryArgument, parse_tag_or_digest
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_hint, print_json, print_table, show_count, show_instant, show_size
from registry.identity import Actor
from registry.metadata.manifests import ListedManifest
from registry.oci.media_types import IMAGES, INDEXES, OCI_ARTIFACT
from registry.oci.names import RepositoryName, Tag
from registry.oci.preconditions import NO_PRECONDITIONS

_PAGE = 1000
# The config of what can be run. An image manifest with any other is how artifacts are stored.
_IMAGE_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, delete and restore manifests.")


@app.command("list")
def list_(
    ctx: typer.Context,
    repository: RepositoryArgument,
    is_untagged: Annotated[bool, typer.Option("--untagged", help="Only those to which no tag points.")] = False,
    is_deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted and can be restored.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """List a repository's manifests, with their tags, the last pushed first.

    KIND is image, index, artifact or the media type. SIZE is of the blobs that
    the manifest names itself: its config and layers, each once; an index has
    none. The images of an index mostly have no tag of their own. With --deleted:
    until when each can be restored, for certain.

    Examples:
      entrepot manifest list demo/app
      entrepot manifest list demo/app --untagged
      entrepot manifest list demo/app --deleted
      entrepot manifest list demo/app --json | jq -r '.manifests[].digest'
    """

    async def work(registry: Registry) -> list[tuple[ListedManifest, int | None]]:
        shown, _ = await registry.repositories.show(repository)
        days = registry.config.undelete_days
        return [
            (each, None if each.deleted_at is None else shown.settings.end_window(each.deleted_at, days))
            for each in await _list(registry, repository, is_deleted=is_deleted, is_untagged=is_untagged)
        ]

    found = opening.read(ctx, config_file, work)
    if as_json:
        print_json({"repository": repository.value, "manifests": [_document(*each) for each in found]})
        return
    columns = ("DIGEST", "TAGS", "KIND", "SIZE", "PUSHED AT", "PUSHED BY")
    rows = [_row(each, until) for each, until in found]
    print_table((*columns, "RESTORABLE UNTIL") if is_deleted else columns, rows, numbers=("SIZE",))


@app.command()
def delete(
    ctx: typer.Context, repository: RepositoryArgument, reference: ReferenceArgument, config_file: ConfigFile = None
) -> None:
    """Delete a tag, or a manifest with all its tags.

    A tag goes alone: what it points to stays, and as long as it does, `entrepot
    tag restore` brings the tag back. A digest takes the manifest and every tag
    that points to it: until the undelete window ends, `entrepot manifest restore`
    brings the manifest back, and `entrepot tag restore` a tag together with it.

    Examples:
      entrepot manifest delete demo/app 1.0
      entrepot manifest delete demo/app sha256:2c26b46b...
    """
    target = parse_tag_or_digest(reference)

    async def work(registry: Registry, by: Actor) -> tuple[int, int]:
        found, _ = await registry.repositories.show(repository)  # says it if there is no such repository
        permission = Permission((EVERYTHING,))
        deleted_at = await registry.manifests.delete(repository, target, NO_PRECONDITIONS, by, permission)
        return deleted_at, found.settings.end_window(deleted_at, registry.config.undelete_days)

    deleted_at, until = opening.change(ctx, config_file, work)
    if isinstance(target, Tag):
        typer.echo(f"the tag {repository}:{reference} is deleted, and what it pointed to stays")
        print_hint(f"`entrepot tag restore {repository} {reference}` brings it back, as long as that stays")
        return
    typer.echo(f"{reference} is deleted from {repository}, with its tags")
    if until > deleted_at:
        print_hint(
            f"until {show_instant(until)} `entrepot manifest restore {repository} {reference}` brings it back, and"
            f" `entrepot tag restore {repository} TAG` one of its tags with it"
        )


@app.command()
def restore(
    ctx: typer.Context, repository: RepositoryArgument, digest: DigestArgument, config_file: ConfigFile = None
) -> None:
    """Bring a deleted manifest back, with all that it names.

    Its children and blobs come with it, whole or not at all. Its tags do not:
    `entrepot tag restore` brings each of them back, together with the manifest.

    Examples:
      entrepot manifest list demo/app --deleted
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
    if str(digest) in revived:  # a deleted manifest has no tag
        print_hint(f"no tag points to it: `entrepot tag restore {repository} TAG` brings one back")
    if has_policy:
        print_hint(f"its lifecycle policy may expire it again: `entrepot lifecycle preview {repository}` shows that")


async def _list(
    registry: Registry, repository: RepositoryName, *, is_deleted: bool, is_untagged: bool
) -> list[ListedManifest]:
    """The last pushed first."""
    found: list[ListedManifest] = []
    after = ""
    while page := await registry.manifests.list_page(
        repository, after, _PAGE, is_deleted=is_deleted, is_untagged=is_untagged
    ):
        found += page
        after = page[-1].digest
    return sorted(found, key=lambda each: each.pushed_at, reverse=True)


def _row(manifest: ListedManifest, until: int | None) -> tuple[str, ...]:
    return (
        manifest.digest,
        ",".join(manifest.tags) or "-",
        _kind(manifest),
        show_size(manifest.blob_bytes),
        show_instant(manifest.pushed_at),
        manifest.pushed_by,
        *([] if until is None else [show_instant(until)]),
    )


def _kind(manifest: ListedManifest) -> str:
    if manifest.media_type in IMAGES:
        return "image" if manifest.artifact_type in _IMAGE_CONFIGS else "artifact"
    if manifest.media_type in INDEXES:
        return "index"
    return "artifact" if manifest.media_type == OCI_ARTIFACT else manifest.media_type


def _document(manifest: ListedManifest, until: int | None) -> dict[str, object]:
    document: dict[str, object] = {
        "digest": manifest.digest,
        "tags": list(manifest.tags),
        "kind": _kind(manifest),
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "blob_bytes": manifest.blob_bytes,
        "pushed_at": exact_instant(manifest.pushed_at),
        "pushed_by": manifest.pushed_by,
    }
    if manifest.deleted_at is None or until is None:
        return document
    return document | {"deleted_at": exact_instant(manifest.deleted_at), "restorable_until": exact_instant(until)}

"""`entrepot import`: take over images from another registry's files."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Refused
from registry.cli.moving import blob_bar
from registry.cli.names import RepositoryOption
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import print_json, print_table, show_count, show_size
from registry.moving.distribution import each_repository, find_root
from registry.moving.importing import Imported, Importer, Link
from registry.moving.layouts import each_layout
from registry.moving.plans import Plan, Refusal, make_plan
from registry.moving.sources import SourceRepository
from registry.oci.names import RepositoryName
from storage.linking import link_blob

app = typer.Typer(add_completion=False)


@app.command(name="import")
def import_(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", exists=True, file_okay=False, help="The directory of a registry's files, or of layouts."
        ),
    ],
    *,
    repository: RepositoryOption = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="NAME", help="Put this and a / before each name.")] = "",
    is_rehearsal: Annotated[
        bool, typer.Option("--dry-run", help="Show what would come; hash and change nothing.")
    ] = False,
    copies: Annotated[bool, typer.Option("--copy", help="Copy each file, also where a hard link would do.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Take over images from another registry's files.

    SOURCE holds the files of a CNCF distribution registry (registry:2, Harbor,
    GitLab): docker/registry/v2 or a directory above it; or it is an OCI image
    layout, or has several below it. It is only read, and may be served meanwhile.
    This registry may be served, too.

    Every byte is hashed. On the same volume files are not copied: they get a
    second name, so nobody may change them in place (no registry does). It can be
    done again: what is here is skipped, and tags come to point where they do in
    SOURCE. What the registry's rules refuse is told, the rest comes: status 1.

    --repository: of a registry's files only this one; of one layout, its name here.

    Examples:
      entrepot import /var/lib/registry --dry-run
      entrepot import /var/lib/registry --prefix old
      entrepot import ./alpine-layout --repository library/alpine
    """
    if repository and prefix:
        raise typer.BadParameter("say --repository or --prefix, not both")
    plans, refusals = _make_plans(source, repository, prefix)
    imported = _rehearse(plans) if is_rehearsal else _import(ctx, config_file, plans, copies=copies)
    imported.refusals[:0] = refusals
    _show(imported, as_json=as_json, is_rehearsal=is_rehearsal)
    if imported.refusals:
        raise typer.Exit(1)


def _import(ctx: typer.Context, config_file: Path | None, plans: list[Plan], *, copies: bool) -> Imported:
    with blob_bar("Importing blobs") as bar:
        bar.begin(sum(size for plan in plans for size in _sizes(plan).values()))
        return opening.make(
            ctx,
            config_file,
            lambda registry, by: _importer(registry, copies=copies).run(plans, by, bar.advance),
        )


def _importer(registry: Registry, *, copies: bool) -> Importer:
    link: Link | None = None
    if registry.config.bucket is None and not copies:
        link = partial(link_blob, registry.config.storage_path)
    return Importer(registry.uploads, registry.blobs, registry.manifests, link)


def _make_plans(source: Path, repository: RepositoryName | None, prefix: str) -> tuple[list[Plan], list[Refusal]]:
    """Raises Refused: there is nothing to import."""
    plans: list[Plan] = []
    refusals: list[Refusal] = []
    try:
        for found, name in _name(source, repository, prefix):
            made = make_plan(found, name)
            (refusals.append(made) if isinstance(made, Refusal) else plans.append(made))
    except OSError as problem:
        raise Refused(f"{problem.filename or source}: {problem.strerror or problem}") from None
    return plans, refusals


def _name(source: Path, repository: RepositoryName | None, prefix: str) -> Iterator[tuple[SourceRepository, str]]:
    """What there is, and what it is called here. Raises Refused."""
    layouts = list(each_layout(source))
    root = None if layouts else find_root(source)
    if root is None and not layouts:
        raise Refused(
            f"{source} holds no images: neither docker/registry/v2 (the files of a CNCF distribution registry) nor an"
            " oci-layout is in it"
        )
    if repository and len(layouts) > 1:
        raise Refused(f"{source} holds {len(layouts)} layouts, and --repository names one: name its directory")
    found = False
    for each in layouts or each_repository(root or source):
        name = f"{prefix.rstrip('/')}/{each.name}" if prefix else each.name
        if repository and not layouts and each.name != repository.value:
            continue
        found = True
        yield each, repository.value if repository else name
    if repository and not found:
        raise Refused(f"{source} has no repository {repository}")


def _sizes(plan: Plan) -> dict[object, int]:
    digests = {digest for manifest in plan.manifests for digest, _ in manifest.blobs}
    return {digest: plan.measure(digest) or 0 for digest in digests}


def _rehearse(plans: list[Plan]) -> Imported:
    """What would come into an empty registry."""
    sizes = {digest: size for plan in plans for digest, size in _sizes(plan).items()}
    return Imported(
        repositories=len(plans),
        manifests=sum(len(plan.manifests) for plan in plans),
        tags=sum(len(manifest.tags) for plan in plans for manifest in plan.manifests),
        blobs=len(sizes),
        blob_bytes=sum(sizes.values()),
        refusals=[refusal for plan in plans for refusal in plan.refusals] + _list_missing(plans),
    )


def _list_missing(plans: list[Plan]) -> list[Refusal]:
    return [
        Refusal(plan.name.value, str(digest), "the blob is not in the source")
        for plan in plans
        for digest in sorted({digest for one in plan.manifests for digest, is_required in one.blobs if is_required})
        if plan.measure(digest) is None
    ]


def _show(imported: Imported, *, as_json: bool, is_rehearsal: bool) -> None:
    if as_json:
        print_json(asdict(imported))
        return
    if imported.refusals:
        rows = [(each.repository, each.reference or "-", each.problem) for each in imported.refusals]
        print_table(("REPOSITORY", "REFERENCE", "NOT IMPORTED, BECAUSE"), rows)
    repositories = "1 repository" if imported.repositories == 1 else f"{imported.repositories} repositories"
    counts = (
        f"{repositories}: {show_count(imported.manifests, 'manifest')}, {show_count(imported.tags, 'tag')},"
        f" {show_count(imported.blobs, 'blob')} of {show_size(imported.blob_bytes)}"
    )
    if is_rehearsal:
        typer.echo(f"Would import {counts}")
        return
    linked = f" ({imported.linked} linked, not copied)" if imported.linked else ""
    there = imported.known_manifests
    known = f"; {show_count(there, 'manifest')} {'was' if there == 1 else 'were'} here already" if there else ""
    typer.echo(f"Imported {counts}{linked}{known}")

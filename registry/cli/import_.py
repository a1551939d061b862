"""`entrepot import`: take over images from another registry's files or bucket."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.import_sources import (
    AddressingOption,
    BucketTerms,
    EndpointOption,
    OpenSource,
    RegionOption,
    SourceArgument,
    opened,
)
from registry.cli.invocation import Refused
from registry.cli.moving import Bar, blob_bar
from registry.cli.names import RepositoryOption
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import print_json, print_table, show_count, show_size
from registry.cli.settings import load_config
from registry.identity import Actor
from registry.moving.importing import Imported, Importer
from registry.moving.plans import Plan, Refusal, make_plan
from registry.moving.sources import SourceUnavailable
from registry.oci.names import RepositoryName
from registry.stores import find_ways
from storage.digest import Digest
from storage.s3.place import S3Place

app = typer.Typer(add_completion=False)


@app.command(name="import")
def import_(  # noqa: PLR0913 - each is a flag
    ctx: typer.Context,
    source: SourceArgument,
    *,
    repository: RepositoryOption = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="NAME", help="Put this and a / before each name.")] = "",
    is_rehearsal: Annotated[
        bool, typer.Option("--dry-run", help="Show what would come; hash and change nothing.")
    ] = False,
    copies: Annotated[bool, typer.Option("--copy", help="Read and write each blob: no link, no copy by S3.")] = False,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    addressing: AddressingOption = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Take over images from another registry's files or bucket.

    SOURCE holds the files of a CNCF distribution registry (registry:2, Harbor,
    GitLab): docker/registry/v2 or a directory above it, or s3://BUCKET/PREFIX;
    or it is an OCI image layout, or has several below it. It is only read, and
    may be served meanwhile. This registry may be served, too.

    Every byte is hashed. On the same volume files are not copied: they get a
    second name, so nobody may change them in place (no registry does). At the
    same endpoint the S3 server copies objects itself. It can be done again: what
    is here is skipped, and tags come to point where they do in SOURCE. What the
    registry's rules refuse is told, the rest comes: status 1.

    --repository: of a registry only this one; of one layout, its name here.
    A bucket is read with the credentials of the usual AWS_* variables.

    Examples:
      entrepot import /var/lib/registry --dry-run
      entrepot import /var/lib/registry --prefix old
      entrepot import ./alpine-layout --repository library/alpine
      entrepot import s3://old-registry --endpoint https://s3.example.com
    """
    terms = BucketTerms(endpoint, region, addressing)
    if repository and prefix:
        raise typer.BadParameter("say --repository or --prefix, not both")
    if source.bucket is None and not terms.is_empty:
        raise typer.BadParameter("--endpoint, --region and --addressing are of buckets: s3://BUCKET/PREFIX")
    with opened(source, terms, load_config(config_file)[0]) as found, blob_bar("Reading the source") as bar:
        plans, refusals = make_plans(found, repository, prefix)
        make = None if is_rehearsal else partial(make_importer, source=found.place, copies=copies)
        imported = _import(ctx, config_file, plans, bar, make) if make else asyncio.run(_rehearse(plans))
    imported.refusals[:0] = refusals
    _show(imported, as_json=as_json, is_rehearsal=is_rehearsal)


def _import(
    ctx: typer.Context, config_file: Path | None, plans: list[Plan], bar: Bar, make: Callable[[Registry], Importer]
) -> Imported:
    """Raises Refused."""

    async def work(registry: Registry, by: Actor) -> Imported:
        sizes = [await plan.measure() for plan in plans] if bar.is_shown else []  # a request for each, of a bucket
        bar.begin(sum(size or 0 for each in sizes for size in each.values()), "Importing blobs")
        return await make(registry).run(plans, by, bar.advance)

    try:
        return opening.make(ctx, config_file, work)
    except SourceUnavailable as problem:
        raise Refused(f"{problem}\nWhat has come until now stays: import again, and the rest comes") from None


def make_importer(registry: Registry, *, source: S3Place | None, copies: bool) -> Importer:
    """Into this registry, from a bucket or (None) from files; with `copies` each blob is read and written."""
    ways = find_ways(registry.config, registry.store, source, copies=copies)
    return Importer(registry.uploads, registry.blobs, registry.manifests, ways)


def make_plans(source: OpenSource, repository: RepositoryName | None, prefix: str) -> tuple[list[Plan], list[Refusal]]:
    """What is to come, and what cannot. Raises Refused: there is nothing to import."""
    plans: list[Plan] = []
    refusals: list[Refusal] = []

    async def work() -> None:
        async for found, name in source.each_repository(repository, prefix):
            made = await make_plan(found, name)
            (refusals.append(made) if isinstance(made, Refusal) else plans.append(made))

    try:
        asyncio.run(work())
    except SourceUnavailable as problem:
        raise Refused(str(problem)) from None
    except OSError as problem:
        raise Refused(f"{problem.filename or source.text}: {problem.strerror or problem}") from None
    return plans, refusals


async def _rehearse(plans: list[Plan]) -> Imported:
    """What would come into an empty registry. Raises Refused."""
    imported, known = Imported(repositories=len(plans)), dict[Digest, int]()
    for plan in plans:
        try:
            sizes = await plan.measure()
        except SourceUnavailable as problem:
            raise Refused(str(problem)) from None
        known |= {digest: size or 0 for digest, size in sizes.items()}
        imported.manifests += len(plan.manifests)
        imported.tags += sum(len(manifest.tags) for manifest in plan.manifests)
        required = {digest for manifest in plan.manifests for digest, is_required in manifest.blobs if is_required}
        missing = sorted(digest for digest in required if sizes[digest] is None)
        imported.refusals += plan.refusals
        imported.refusals += [
            Refusal(plan.name.value, str(digest), "the blob is not in the source") for digest in missing
        ]
    imported.blobs, imported.blob_bytes = len(known), sum(known.values())
    return imported


def _show(imported: Imported, *, as_json: bool, is_rehearsal: bool) -> None:
    """Also by the exit status: Raises typer.Exit when something did not come."""
    if as_json:
        print_json(asdict(imported))
    else:
        _print(imported, is_rehearsal=is_rehearsal)
    if imported.refusals:
        raise typer.Exit(1)


def _print(imported: Imported, *, is_rehearsal: bool) -> None:
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
    linked = f" ({imported.copied} copied by the S3 server)" if imported.copied else linked
    there = imported.known_manifests
    known = f"; {show_count(there, 'manifest')} {'was' if there == 1 else 'were'} here already" if there else ""
    typer.echo(f"Imported {counts}{linked}{known}")

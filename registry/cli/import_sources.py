"""What `entrepot import` reads from: a directory or a bucket, and what there is in it."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from registry.cli.invocation import Refused
from registry.config import ORIGIN, Config
from registry.moving.distribution import Tree, each_repository
from registry.moving.distribution_files import FileTree, find_root
from registry.moving.layouts import list_layouts, read_layout
from registry.moving.sources import SourceRepository
from registry.oci.names import RepositoryName
from registry.stores import open_source
from storage.blobstore import StoreUnavailable
from storage.s3.place import S3Place, parse_url

if TYPE_CHECKING:
    from registry.moving.distribution_bucket import DistributionBucket

_S3 = "s3://"


@dataclass(frozen=True, slots=True)
class Source:
    """As it was given: a directory, or with `bucket` a bucket and the prefix in it."""

    text: str
    bucket: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class BucketTerms:
    """How the bucket is reached; None: as the registry's own."""

    endpoint: str | None
    region: str | None
    addressing: str | None

    @property
    def is_empty(self) -> bool:
        return self == BucketTerms(None, None, None)

    def place(self, bucket: tuple[str, str], config: Config) -> S3Place:
        """Where it is. What the settings say of the registry's own server says nothing of another one."""
        endpoint = config.s3_endpoint if self.endpoint is None else self.endpoint
        is_own = endpoint == config.s3_endpoint
        return S3Place(
            bucket=bucket[0],
            prefix=bucket[1],
            endpoint=endpoint,
            region=self.region or (config.s3_region if is_own else ""),
            checksums=config.s3_checksums,
            addressing=self.addressing or (config.s3_addressing if is_own else "auto"),
        )


@dataclass(frozen=True, slots=True)
class OpenSource:
    """One that is there: a directory, or a `bucket`."""

    text: str
    bucket: "DistributionBucket | None" = None

    @property
    def place(self) -> S3Place | None:
        return self.bucket.place if self.bucket else None

    async def each_repository(
        self, repository: RepositoryName | None, prefix: str
    ) -> AsyncIterator[tuple[SourceRepository, str]]:
        """What there is, and what it is called here. Raises Refused, SourceUnavailable, OSError."""
        layouts = [] if self.bucket else list_layouts(Path(self.text))
        if repository and len(layouts) > 1:
            raise Refused(f"{self.text} holds {len(layouts)} layouts, and --repository names one: name its directory")
        for folder, name in layouts:
            yield await read_layout(folder, name), repository.value if repository else _put_below(prefix, name)
        if layouts:
            return
        found = False
        async for each in each_repository(await self._find_tree(), repository.value if repository else ""):
            found = True
            yield each, _put_below(prefix, each.name)
        if repository and not found:
            raise Refused(f"{self.text} has no repository {repository}")

    async def _find_tree(self) -> Tree:
        if self.bucket is None:
            root = find_root(Path(self.text))
            if root is not None:
                return FileTree(root)
        elif await self.bucket.find_root():
            return self.bucket
        neither, layout = ("neither", " nor an oci-layout") if self.bucket is None else ("no", "")
        raise Refused(
            f"{self.text} holds no images: {neither} docker/registry/v2 (the files of a CNCF distribution"
            f" registry){layout} is in it"
        )


@contextmanager
def opened(source: Source, terms: BucketTerms, config: Config) -> Iterator[OpenSource]:
    """For as long as the block lasts. Nothing is asked of it yet. Raises Refused."""
    if source.bucket is None:
        yield OpenSource(source.text)
        return
    try:
        bucket = open_source(terms.place(source.bucket, config))
    except StoreUnavailable as problem:
        raise Refused(f"{source.text}: {problem.strerror or problem}") from None
    try:
        yield OpenSource(source.text, bucket)
    finally:
        bucket.close()


def _put_below(prefix: str, name: str) -> str:
    return f"{prefix.rstrip('/')}/{name}" if prefix else name


def _parse_source(text: str) -> Source:
    if text.startswith(_S3):
        bucket = parse_url(text)
        if bucket is None:
            raise typer.BadParameter(f"a bucket is named s3://BUCKET/PREFIX, not {text!r}")
        return Source(text, bucket)
    if not Path(text).is_dir():
        raise typer.BadParameter(f"{text!r} is no directory")
    return Source(text)


def _parse_endpoint(text: str) -> str:
    if not re.fullmatch(ORIGIN, text):
        raise typer.BadParameter(f"an endpoint begins with http:// or https:// and has no path, not {text!r}")
    return text


SourceArgument = Annotated[
    Source,
    typer.Argument(
        metavar="SOURCE",
        parser=_parse_source,
        help="The directory of a registry's files, or of layouts; s3://BUCKET/PREFIX of a registry's bucket.",
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        parser=_parse_endpoint,
        help="The bucket's S3 server (default: the registry's own).",
    ),
]
RegionOption = Annotated[str | None, typer.Option("--region", metavar="NAME", help="The bucket's region.")]
AddressingOption = Annotated[
    Literal["auto", "path", "virtual"] | None,
    typer.Option("--addressing", help="Where the bucket's name goes in URLs."),
]

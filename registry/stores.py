"""Opens the database and the blob store that the settings name.

The modules of PostgreSQL and S3 are imported when they are used: whoever needs neither starts twice as fast without.
"""

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from registry.config import Config, hide_password
from registry.identity import Clock, milliseconds_now
from registry.metadata.database import Database
from registry.metadata.sqlite import SqliteDatabase
from registry.moving.sources import Ways
from storage.blobstore import BlobStore
from storage.files import make_directories
from storage.filesystem import FilesystemBlobStore
from storage.killpoints import Reach
from storage.linking import link_blob
from storage.s3.place import S3Place
from storage.waiting import see_through

if TYPE_CHECKING:
    from registry.moving.distribution_bucket import DistributionBucket
    from storage.s3.store import S3BlobStore


def open_database(config: Config, clock: Clock | None, reach: Reach) -> Database:
    """`clock` is the embedded one's, this machine's unless it is given. Raises Unavailable, OSError."""
    if config.is_embedded:
        make_directories(config.database_path.parent)
        own = clock or milliseconds_now
        return SqliteDatabase(config.database_path, clock=own, reach=reach, reserve=config.reserve)
    open_shared: Callable[..., Database] = importlib.import_module("registry.metadata.postgres").PostgresDatabase
    return open_shared(config.database, connections=config.database_connections, reach=reach)


def open_store(config: Config, reach: Reach) -> BlobStore:
    """Nothing is asked of it yet."""
    if config.bucket is None:
        return FilesystemBlobStore(config.storage_path, reach=reach, reserve=config.reserve)
    open_bucket: Callable[..., BlobStore] = importlib.import_module("storage.s3.store").S3BlobStore
    return open_bucket(make_place(config), memory=config.upload_memory_mib << 20, reach=reach)


def open_source(place: S3Place) -> "DistributionBucket":
    """A bucket to import from. Nothing is asked of it yet."""
    opened: DistributionBucket = importlib.import_module("registry.moving.distribution_bucket").DistributionBucket(
        place
    )
    return opened


def find_ways(config: Config, store: BlobStore, source: S3Place | None, *, copies: bool = False) -> Ways:
    """How content can come from files (`source` is None) or a bucket into the registry's store without passing here.

    With `copies` in no way: it is read and written.
    """
    if copies:
        return Ways()
    if config.bucket is None:
        root = config.storage_path
        return Ways(link=lambda path, key: see_through(asyncio.to_thread(link_blob, root, path, key)))
    is_near = source is not None and source.endpoint == config.s3_endpoint
    return Ways(copies=cast("S3BlobStore", store).copies) if is_near else Ways()


def make_place(config: Config) -> S3Place:
    """Where in S3 the blobs are, when they are not files."""
    bucket, prefix = config.bucket or ("", "")
    return S3Place(
        bucket=bucket,
        prefix=prefix,
        endpoint=config.s3_endpoint,
        region=config.s3_region,
        public_endpoint=config.s3_public_endpoint,
        redirects=config.s3_redirects == "on",
        encryption=config.s3_encryption,
        storage_class=config.s3_storage_class,
        checksums=config.s3_checksums,
        addressing=config.s3_addressing,
        is_shared=not config.is_embedded,
    )


def name_places(config: Config) -> tuple[str, str]:
    """What the registry's database and its blobs are called, without passwords."""
    database = str(config.database_path) if config.is_embedded else hide_password(config.database)
    if config.bucket is None:
        return database, str(config.storage_path)
    at = f" at {config.s3_endpoint}" if config.s3_endpoint else ""
    return database, f"{config.storage.rstrip('/')}{at}"

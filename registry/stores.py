"""Opens the database and the blob store that the settings name.

The modules of PostgreSQL and S3 are imported when they are used: whoever needs neither starts twice as fast without.
"""

from registry.config import Config
from registry.identity import Clock
from registry.metadata.database import Database
from registry.metadata.sqlite import SqliteDatabase
from storage.blobstore import BlobStore
from storage.files import make_directories
from storage.filesystem import FilesystemBlobStore
from storage.killpoints import Reach


def open_database(config: Config, clock: Clock, reach: Reach) -> Database:
    """Raises Unavailable, OSError."""
    if config.is_embedded:
        make_directories(config.database_path.parent)
        return SqliteDatabase(config.database_path, clock=clock, reach=reach, reserve=config.reserve)
    from registry.metadata.postgres import PostgresDatabase  # noqa: PLC0415 - see above

    return PostgresDatabase(config.database, connections=config.database_connections, reach=reach)


def open_store(config: Config, reach: Reach) -> BlobStore:
    """Nothing is asked of it yet."""
    if config.bucket is None:
        return FilesystemBlobStore(config.storage_path, reach=reach, reserve=config.reserve)
    from storage.s3 import S3BlobStore, S3Place  # noqa: PLC0415 - see above

    bucket, prefix = config.bucket
    place = S3Place(
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
    )
    return S3BlobStore(place, memory=config.upload_memory_mib << 20, reach=reach)

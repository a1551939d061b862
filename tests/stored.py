"""Looks at a registry's rows and bytes as another program would, whatever database and store it has."""

import functools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import apsw
import boto3
import psycopg
from botocore.config import Config as ClientConfig
from mypy_boto3_s3 import S3Client

from registry.config import Config


def read_rows(config: Config, sql: str, *parameters: str | int) -> list[tuple[Any, ...]]:
    """The rows of a query with `?` for its parameters."""
    if config.is_embedded:
        path = str(config.database_path)
        with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as embedded:
            return list(embedded.execute(sql, parameters))
    with psycopg.connect(config.database, autocommit=True) as connection:
        query = sql.replace("%", "%%").replace("?", "%s")
        return connection.execute(query.encode(), parameters).fetchall()


class Stored(Protocol):
    """The bytes of a registry, by their keys."""

    def blobs(self) -> list[str]:
        """The keys of the committed blobs, sorted."""

    def uploads(self) -> list[str]:
        """The keys of uploads with bytes that nobody has finished or cancelled, sorted."""

    def read(self, key: str) -> bytes:
        """The bytes of a committed blob."""

    def write(self, key: str, content: bytes) -> None:
        """Put other bytes in the place of a committed blob, or some where none were."""

    def remove(self, key: str) -> None:
        """Lose a committed blob."""


def open_stored(config: Config) -> Stored:
    return Objects(config) if config.bucket else Files(config.storage_path)


class Files:
    def __init__(self, root: Path) -> None:
        self._root = root

    def blobs(self) -> list[str]:
        return sorted(path.name for path in (self._root / "data").rglob("*") if path.is_file())

    def uploads(self) -> list[str]:
        return sorted(path.name for path in (self._root / "uploads").glob("*"))

    def read(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        self.path(key).write_bytes(content)

    def remove(self, key: str) -> None:
        self.path(key).unlink()

    def path(self, key: str) -> Path:
        return self._root / "data" / key[:2] / key


class Objects:
    def __init__(self, config: Config) -> None:
        assert config.bucket
        self._bucket, prefix = config.bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _open_client(config.s3_endpoint, config.s3_region)

    def blobs(self) -> list[str]:
        return sorted(self._names("data/"))

    def uploads(self) -> list[str]:
        """Parts have no names of their own: an upload is a multipart upload, or the tail of one."""
        answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=f"{self._prefix}data/")
        assert not answer["IsTruncated"]
        begun = {upload["Key"].rpartition("/")[2] for upload in answer.get("Uploads", [])}
        return sorted(begun | {name.partition(".")[0] for name in self._names("tails/")})

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=self._name(key))["Body"].read()

    def write(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._name(key), Body=content)

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def _name(self, key: str) -> str:
        return f"{self._prefix}data/{key[:2]}/{key}"

    def _names(self, folder: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}{folder}"
        )
        for page in pages:
            for each in page.get("Contents", []):
                yield each["Key"].rpartition("/")[2]


@functools.cache
def _open_client(endpoint: str, region: str) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=region or None,
        config=ClientConfig(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )

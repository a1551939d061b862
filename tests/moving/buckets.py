"""Another registry's bucket, made of its files: the same names, below a prefix of its own."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from storage.s3.place import S3Place
from tests.moving.trees import Distribution
from tests.servers.s3_proxy import S3Proxy
from tests.servers.seaweed import SeaweedServer, fresh_place
from tests.storage.s3_content import connect


class Bucket:
    """The tree's files as objects; those that were changed last are written last."""

    def __init__(self, place: S3Place, tree: Distribution) -> None:
        self.place = place
        self.tree = tree
        self._client = connect(place.endpoint, place.region)
        files = sorted((path for path in tree.path.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)
        for path in files:
            self.write(path.relative_to(tree.path).as_posix(), path.read_bytes())

    @property
    def url(self) -> str:
        return f"s3://{self.place.bucket}/{self.place.prefix}"

    def write(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.place.bucket, Key=f"{self.place.root}{name}", Body=content)

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=self.place.bucket, Key=f"{self.place.root}{name}")

    def written(self, name: str) -> float:
        """The second in which it was."""
        found = self._client.head_object(Bucket=self.place.bucket, Key=f"{self.place.root}{name}")
        return found["LastModified"].timestamp()

    def snapshot(self) -> dict[str, tuple[str, str]]:
        """Every object with its ETag and when it was written."""
        return {
            entry["Key"]: (entry["ETag"], str(entry["LastModified"]))
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.place.bucket, Prefix=self.place.root
            )
            for entry in page.get("Contents", [])
        }


@pytest.fixture
def bucket(seaweed: SeaweedServer, tree: Distribution) -> Bucket:
    return Bucket(fresh_place(seaweed), tree)


@pytest.fixture
def proxy(seaweed: SeaweedServer) -> Iterator[S3Proxy]:
    """Another endpoint of the same server; it counts calls, and lets those go wrong that it is told of."""
    with S3Proxy(urlsplit(seaweed.endpoint).port or 0) as running:
        yield running

"""What is in S3, seen past the store: by boto3 alone."""

import functools
from typing import TYPE_CHECKING

from storage.s3.client import make_boto
from storage.s3.place import S3Place

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Boto


@functools.cache
def connect(endpoint: str, region: str) -> "Boto":
    return make_boto(S3Place("", endpoint=endpoint, region=region), endpoint, 4)


def list_objects(place: S3Place) -> dict[str, int]:
    """The size of every object of the place, by its name without the prefix."""
    pages = (
        connect(place.endpoint, place.region)
        .get_paginator("list_objects_v2")
        .paginate(Bucket=place.bucket, Prefix=place.root)
    )
    found = {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}
    return {name.removeprefix(place.root): size for name, size in found.items()}


def list_multiparts(place: S3Place) -> dict[str, str]:
    """The key of every multipart upload of the place that has not ended, by its id."""
    pages = (
        connect(place.endpoint, place.region)
        .get_paginator("list_multipart_uploads")
        .paginate(Bucket=place.bucket, Prefix=place.blobs)
    )
    found = [entry for page in pages for entry in page.get("Uploads", [])]
    return {entry["UploadId"]: entry["Key"].rpartition("/")[2] for entry in found}


def find_uploads(place: S3Place) -> set[str]:
    """The keys of uploads that still take room."""
    tails = [name.removeprefix("tails/") for name in list_objects(place) if name.startswith("tails/")]
    return {name.rpartition(".")[0] for name in tails} | set(list_multiparts(place).values())

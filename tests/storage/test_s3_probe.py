"""What `entrepot doctor` is told about a bucket."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from storage.s3.place import S3Place
from storage.s3.probe import Finding, S3Probe
from tests.servers.s3_proxy import Answer, OtherTag, S3Proxy
from tests.storage.conftest import Replicas
from tests.storage.s3_content import connect, find_uploads, list_objects

pytestmark = pytest.mark.anyio

CHECKS = [
    "reach", "clock", "write, read, delete", "multipart", "parts of different sizes", "foreign parts", "parts left out",
    "copied parts", "conditional writes", "checksums", "redirects", "redirects with credentials", "versioning",
    "object lock", "lifecycle", "clean-up",
]  # fmt: skip


async def examine(place: S3Place) -> dict[str, Finding]:
    return {finding.name: finding for finding in await S3Probe(place).examine()}


async def test_a_good_store(place: S3Place) -> None:
    """Every check passes, and none leaves anything."""
    found = await examine(place)
    assert list(found) == CHECKS
    assert [finding for finding in found.values() if not finding.ok] == []
    assert list_objects(place) == {}
    assert find_uploads(place) == set()


async def test_a_store_that_does_not_answer(place: S3Place) -> None:
    """One finding says it all."""
    assert list(await examine(replace(place, endpoint="http://127.0.0.1:9"))) == ["reach"]


async def test_a_bucket_that_does_not_exist(place: S3Place) -> None:
    """It is named before anything is written."""
    found = await examine(replace(place, bucket="no-such-bucket"))
    assert list(found) == ["reach"]
    assert "does not exist" in found["reach"].text


@pytest.mark.parametrize(
    ("answer", "operation", "failing"),
    [
        (Answer(403, "AccessDenied"), "DeleteObject", {"write, read, delete", "clean-up"}),
        (Answer(400, "InvalidPart"), "CompleteMultipartUpload", {
            "multipart", "parts of different sizes", "copied parts", "conditional writes"}),
        (Answer(501, "NotImplemented"), "UploadPartCopy", {"copied parts"}),
    ],
    ids=["no-delete", "no-complete", "no-copy"],
)  # fmt: skip
async def test_what_does_not_work_is_found(
    replicas: Replicas, proxy: S3Proxy, answer: Answer, operation: str, failing: set[str]
) -> None:
    """By its own check, and the others go on."""
    proxy.break_(answer, operation)
    found = await examine(replicas.place)
    assert {finding.name for finding in found.values() if not finding.ok} == failing


async def test_other_etags_are_told(replicas: Replicas, proxy: S3Proxy) -> None:
    """They cost a second reading of each blob, which works."""
    proxy.break_(OtherTag(), "HeadObject")
    assert (await examine(replicas.place))["copied parts"].ok is False


@pytest.fixture
def other_bucket(place: S3Place) -> Iterator[S3Place]:
    """A bucket of its own, under a name that no other test run has."""
    boto = connect(place.endpoint, place.region)
    other = replace(place, bucket=f"{place.bucket}-{place.prefix.replace('/', '-')}")
    boto.create_bucket(Bucket=other.bucket)
    yield other
    boto.put_bucket_versioning(Bucket=other.bucket, VersioningConfiguration={"Status": "Suspended"})
    found = boto.list_object_versions(Bucket=other.bucket)
    for version in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        boto.delete_object(Bucket=other.bucket, Key=version["Key"], VersionId=version["VersionId"])
    boto.delete_bucket(Bucket=other.bucket)


def set_rule(place: S3Place, **action: dict[str, int]) -> None:
    rule: Any = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, **action}
    boto = connect(place.endpoint, place.region)
    boto.put_bucket_lifecycle_configuration(Bucket=place.bucket, LifecycleConfiguration={"Rules": [rule]})


async def test_settings_of_the_bucket_that_harm(other_bucket: S3Place) -> None:
    """Rules that remove what is in use fail; what only costs room is told."""
    boto = connect(other_bucket.endpoint, other_bucket.region)
    boto.put_bucket_versioning(Bucket=other_bucket.bucket, VersioningConfiguration={"Status": "Enabled"})
    set_rule(other_bucket, Expiration={"Days": 30})
    found = await examine(other_bucket)
    assert (found["lifecycle"].ok, found["versioning"].ok) == (False, True)
    assert "expires objects" in found["lifecycle"].text
    assert "room" in found["versioning"].text
    set_rule(other_bucket, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})
    found = await examine(other_bucket)
    assert found["lifecycle"].ok is False
    assert "aborted after 1 days" in found["lifecycle"].text

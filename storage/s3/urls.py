"""URLs by which clients GET blobs from the store itself. The same one for some minutes, so that caches can serve."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from storage.s3.client import make_boto
from storage.s3.place import S3Place

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Boto

SMALLEST = 64 << 10  # bytes: up to here one more round trip costs more than the bytes
_VALID = 3_600_000  # milliseconds
_LEAST_LEFT = 1_800_000  # milliseconds that a URL must be valid for when it is given out again
_MOST_KEPT = 10_000


class S3Urls:
    """`clock` in Unix milliseconds."""

    def __init__(self, place: S3Place, clock: Callable[[], int]) -> None:
        self._place = place
        self._clock = clock
        self._api: Boto | None = None
        self._connecting = threading.Lock()
        self._lock = threading.Lock()  # never held for long: the event loop takes it
        self._kept: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def is_redirected(self, size: int) -> bool:
        return self._place.redirects and size > SMALLEST

    def find(self, key: str) -> str | None:
        """A URL that was given out before and is still good for long enough."""
        with self._lock:
            url, ends = self._kept.get(key, ("", 0))
            return url if ends - self._clock() >= _LEAST_LEFT else None

    def sign(self, key: str) -> str:
        """A new URL. It may ask for new credentials first, so it belongs into a thread."""
        api, place, now = self._connect(), self._place, self._clock()
        url = api.generate_presigned_url(
            "get_object", Params={"Bucket": place.bucket, "Key": place.blob(key)}, ExpiresIn=_VALID // 1000
        )
        with self._lock:
            self._kept[key] = (url, min(now + _VALID, _expiry(api) or now + _VALID))
            self._kept.move_to_end(key)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return url

    def forget(self, key: str) -> None:
        with self._lock:
            self._kept.pop(key, None)

    def close(self) -> None:
        with self._connecting:
            if self._api:
                self._api.close()

    def _connect(self) -> "Boto":
        with self._connecting:
            if self._api is None:
                self._api = make_boto(self._place, self._place.public_endpoint or self._place.endpoint, 1)
            return self._api


def _expiry(api: "Boto") -> int | None:
    """When temporary credentials end, and with them each URL that they have signed (Unix milliseconds)."""
    credentials = api._request_signer._credentials  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
    ends: datetime | None = getattr(credentials, "_expiry_time", None)
    return int(ends.timestamp() * 1000) if ends else None

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
_MOST_KEPT = 10_000


class S3Urls:
    """`clock` in Unix milliseconds. A URL is valid for so many `seconds`, and given out while half of them are left."""

    def __init__(self, place: S3Place, clock: Callable[[], int], seconds: int) -> None:
        self._place = place
        self._clock = clock
        self._seconds = seconds
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
            return url if ends - self._clock() >= self._seconds * 1000 // 2 else None

    def sign(self, key: str) -> str:
        """A new URL. It may ask for new credentials first, so it belongs into a thread."""
        api, place = self._connect(), self._place
        ends = self._clock() + self._seconds * 1000
        url = api.generate_presigned_url(
            "get_object", Params={"Bucket": place.bucket, "Key": place.blob(key)}, ExpiresIn=self._seconds
        )
        with self._lock:
            self._kept[key] = (url, min(ends, _expiry(api) or ends))
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

"""Every problem that a client can be told of: the spec's code, the status and a message, raised once.

The codes are those of distribution-spec, section "Error Codes"; a 4xx carries no other. UNKNOWN is ours, for 5xx only.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar


class RegistryError(Exception):
    """The root: never raised itself. `detail` is JSON-able and tells a program what the message tells a person."""

    code: ClassVar[str]
    status: ClassVar[int]
    message: ClassVar[str]

    def __init__(
        self, message: str | None = None, *, detail: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.text = message or self.message
        self.detail = detail
        self.headers = dict(headers or {})
        super().__init__(self.text)

    def errors(self) -> list[dict[str, object]]:
        """The entries of the error body."""
        entry: dict[str, object] = {"code": self.code, "message": self.text}
        return [entry if self.detail is None else entry | {"detail": self.detail}]


class NameInvalid(RegistryError):
    code, status = "NAME_INVALID", 400
    message = "a repository name is lower-case letters, digits and . _ - between them, in parts separated by /"


class PageInvalid(RegistryError):
    code, status, message = "UNSUPPORTED", 400, "n is a number of entries"


class NameUnknown(RegistryError):
    code, status, message = "NAME_UNKNOWN", 404, "there is no such repository"

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(message or f"there is no repository {name}", detail={"name": name})


class EndpointUnknown(RegistryError):
    code, status, message = "UNSUPPORTED", 404, "there is no such endpoint"


class MethodNotAllowed(RegistryError):
    code, status, message = "UNSUPPORTED", 405, "this endpoint does not know the method"

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(headers={"Allow": ", ".join(sorted(allowed))})


class RequestInvalid(RegistryError):
    code, status, message = "UNSUPPORTED", 400, "the request is not valid HTTP"


class PathTooLong(RegistryError):
    code, status, message = "UNSUPPORTED", 414, "the path is longer than any that exists"


class HeadersTooLarge(RegistryError):
    code, status, message = "UNSUPPORTED", 431, "the headers of the request are too many, or too large"


class HeadStalled(RegistryError):
    code, status, message = "UNSUPPORTED", 408, "the head of the request did not come in time"


class ExpectationFailed(RegistryError):
    code, status, message = "UNSUPPORTED", 417, "the only expectation that can be met is 100-continue"


class RangeNotSatisfiable(RegistryError):
    """`size` in bytes of what the range was asked of."""

    code, status, message = "SIZE_INVALID", 416, "the range begins after the end of the blob"

    def __init__(self, size: int) -> None:
        super().__init__(headers={"Content-Range": f"bytes */{size}"})


class ManifestUnknown(RegistryError):
    """`reference` as it was asked for: perhaps no tag at all."""

    code, status, message = "MANIFEST_UNKNOWN", 404, "there is no such manifest in this repository"

    def __init__(self, reference: str, message: str | None = None) -> None:
        super().__init__(message, detail={"reference": reference})


class ManifestInvalid(RegistryError):
    code, status, message = "MANIFEST_INVALID", 400, "the manifest is not valid"


class ManifestTooLarge(RegistryError):
    code, status, message = "SIZE_INVALID", 413, "the manifest is too large"

    def __init__(self, most: int) -> None:
        super().__init__(f"the manifest is larger than {most} bytes, which is the most that is taken here")


class BlobTooLarge(RegistryError):
    code, status, message = "SIZE_INVALID", 413, "the blob is too large"

    def __init__(self, most: int) -> None:
        super().__init__(f"the blob is larger than {most} bytes, which is the most that is taken here")


class TooManyTags(RegistryError):
    code, status, message = "UNSUPPORTED", 414, "too many tags in one request"


class ManifestBlobUnknown(RegistryError):
    """`missing` names every digest that the manifest needs and the repository lacks."""

    code, status, message = "MANIFEST_BLOB_UNKNOWN", 404, "the manifest names content that the repository lacks"

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"{self.message}: {', '.join(missing)}")
        self.missing = missing

    def errors(self) -> list[dict[str, object]]:
        return [
            {"code": self.code, "message": f"push {digest} first", "detail": {"digest": digest}}
            for digest in self.missing
        ]


class ConditionFailed(RegistryError):
    code, status, message = "DENIED", 412, "the condition of the request does not hold"


class InUse(RegistryError):
    """Like every 405 it says what is allowed: reading still is."""

    code, status, message = "UNSUPPORTED", 405, "the content is in use"

    def __init__(self, message: str, *, detail: object) -> None:
        super().__init__(message, detail=detail, headers={"Allow": "GET, HEAD"})


class BlobUnknown(RegistryError):
    code, status, message = "BLOB_UNKNOWN", 404, "there is no such blob in this repository"

    def __init__(self, digest: str) -> None:
        super().__init__(detail={"digest": digest})


class BlobDamaged(RegistryError):
    """A 404, so that a client that asks before it pushes brings the bytes again."""

    code, status = "BLOB_UNKNOWN", 404
    message = (
        "the blob's bytes are missing or damaged in the store: push it again to repair it, perhaps under another tag"
    )

    def __init__(self, digest: str) -> None:
        super().__init__(detail={"digest": digest})


class UploadUnknown(RegistryError):
    code, status = "BLOB_UPLOAD_UNKNOWN", 404
    message = "there is no such upload session: begin a new one"


class UploadInvalid(RegistryError):
    code, status, message = "BLOB_UPLOAD_INVALID", 400, "the chunk cannot be read"


class ChunkOutOfOrder(RegistryError):
    """`offset` is where the session stands; another request may be writing there now."""

    code, status = "BLOB_UPLOAD_INVALID", 416
    message = "the chunk does not begin where the upload session stands, or another request is writing to it"

    def __init__(self, offset: int) -> None:
        super().__init__(detail={"offset": offset})
        self.offset = offset


class BodyStalled(RegistryError):
    code, status, message = "BLOB_UPLOAD_INVALID", 408, "the request's body stopped coming"


class DigestInvalid(RegistryError):
    code, status, message = "DIGEST_INVALID", 400, "the digest is not valid"


class SizeInvalid(RegistryError):
    code, status, message = "SIZE_INVALID", 400, "the length of the content is not the announced one"


class Unauthorized(RegistryError):
    code, status, message = "UNAUTHORIZED", 401, "authentication required"

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": challenge})


class Denied(RegistryError):
    code, status, message = "DENIED", 403, "access denied"


class FormUnsupported(RegistryError):
    code, status, message = "UNSUPPORTED", 415, "the content type is not supported here"


class FormTooLarge(RegistryError):
    code, status, message = "UNSUPPORTED", 413, "the form is larger than 64 KiB"


class TooManyRequests(RegistryError):
    """`seconds` to wait, at least one."""

    code, status, message = "TOOMANYREQUESTS", 429, "too many requests: wait a little"

    def __init__(self, seconds: float, message: str | None = None) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


class StorageFull(RegistryError):
    code, status, message = "UNKNOWN", 507, "the registry's disk is full: nothing was changed, pulls go on"


class InternalError(RegistryError):
    """A bug of ours."""

    code, status, message = "UNKNOWN", 500, "the registry failed to serve this: its log says why"


class Unavailable(RegistryError):
    """The reason is for the log and the command line: it may name hosts and users. Clients hear what `is_public`."""

    code, status, message = "UNKNOWN", 503, "the registry cannot serve this now: try again"

    def __init__(self, reason: str | None = None, *, is_public: bool = False) -> None:
        super().__init__(reason, headers={"Retry-After": "5"})
        self._is_public = is_public

    def errors(self) -> list[dict[str, object]]:
        return [{"code": self.code, "message": self.text if self._is_public else self.message}]

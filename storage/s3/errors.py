"""What goes wrong between us and the store, by its S3 code: what passes, what asks for the operator, what is ours."""

import errno
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as NoConnection
from urllib3.exceptions import HTTPError

from storage.blobstore import StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ResponseMetadataTypeDef

TRANSPORT: Final = (BotoCoreError, ClientError, HTTPError, OSError)  # all that a call to boto3 raises

_PASSING = {
    "429", "500", "502", "503", "504", "BandwidthLimitExceeded", "ConditionalRequestConflict", "InternalError",
    "OperationAborted", "PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable",
    "SlowDown", "ThrottlingException", "Throttling", "TooManyRequests", "ExpiredToken",
}  # fmt: skip
_FULL = {
    "507",
    "InsufficientStorage",
    "QuotaExceeded",
    "StorageFull",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
}
_ADVICE = {
    "403": "it denies access: the credentials lack a permission for this bucket",
    "AccessDenied": "it denies access: the credentials lack a permission for this bucket",
    "AllAccessDisabled": "it denies all access to the bucket",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set ENTREPOT_S3_REGION",
    "ExpiredToken": "the credentials have expired and were not renewed",
    "IllegalLocationConstraintException": "the bucket is in another region: set ENTREPOT_S3_REGION",
    "InvalidAccessKeyId": "it does not know the access key",
    "InvalidToken": "it does not know the session token",
    "NoSuchBucket": "the bucket does not exist",
    "PermanentRedirect": "the bucket is elsewhere: set ENTREPOT_S3_REGION, ENTREPOT_S3_ENDPOINT",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by more than the store allows: set it by NTP",
    "SignatureDoesNotMatch": "it does not accept the signature: is the secret key right, does a proxy change the host?",
}


class Refused(StoreUnavailable):
    """The store answered, with the error `code` (of S3, or the HTTP status as text) and the HTTP `status`."""

    def __init__(self, code: str, status: int, text: str) -> None:
        super().__init__(errno.EIO, text)
        self.code = code
        self.status = status

    @property
    def is_absence(self) -> bool:
        return self.code in ("404", "NoSuchKey", "NotFound")

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed some time later."""
        return _is_passing(self.code, self.status)


def is_passing(problem: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(problem, ClientError):
        return _is_passing(*_code(problem))
    return isinstance(
        problem,
        (NoConnection, HTTPClientError, ReadTimeoutError, ResponseStreamingError, IncompleteReadError, HTTPError),
    )


def name_problem(problem: BaseException) -> Exception:
    """The error of ours that says what the problem of boto3 is."""
    if isinstance(problem, ClientError):
        code, status = _code(problem)
        if code in _FULL or status == 507:  # noqa: PLR2004 - HTTP's own
            return StoreFull(f"the object store is full ({code})")
        advice = _ADVICE.get(code, f"it answers {status} {code}")
        return Refused(code, status, f"the object store refuses: {advice}")
    if isinstance(problem, (NoCredentialsError, PartialCredentialsError)):
        return StoreUnavailable(errno.EACCES, "no credentials for the object store: set AWS_ACCESS_KEY_ID and the like")
    if isinstance(problem, (NoConnection, HTTPClientError, HTTPError)):
        return StoreUnavailable(errno.EHOSTUNREACH, f"the object store does not answer ({type(problem).__name__})")
    return StoreUnavailable(errno.EIO, f"the object store cannot be used ({type(problem).__name__})")


def _is_passing(code: str, status: int) -> bool:
    return code in _PASSING or (status >= 500 and status not in (501, 507))  # noqa: PLR2004 - HTTP's own


def _code(problem: ClientError) -> tuple[str, int]:
    response = cast("dict[str, Any]", problem.response)
    metadata: ResponseMetadataTypeDef | dict[str, Any] = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    return str(response.get("Error", {}).get("Code") or status), status

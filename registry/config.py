"""Every setting there is: one frozen value, read once (registry/sources.py)."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from storage.s3.place import parse_url

PREFIX = "ENTREPOT_"
ORIGIN = r"^(https?://[A-Za-z0-9._:\[\]-]+)?$"

_POSTGRESQL = ("postgresql://", "postgres://")
_PASSWORD = re.compile(r"(://[^/:@]*:).*(@)|([?&](?:ssl)?password=)[^&]*", re.ASCII | re.IGNORECASE)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigInvalid(Exception):
    """The message names the setting, what is wrong with it, and where it came from."""


class Config(BaseModel):
    """One frozen value. Lists are comma-separated in the environment and in the file.

    What a validator raises is a hint, which stands behind what the setting must be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[Path, Field(description="where everything of the embedded default lives")] = Path("data")
    storage: Annotated[
        str,
        Field(description="where the blobs are: file:///absolute/path or s3://bucket/prefix (default: DATA/blobs)"),
    ] = ""
    database: Annotated[
        str,
        Field(
            description="where the metadata is: sqlite:////absolute/path or postgresql://user@host/name"
            " (default: DATA/entrepot.db)"
        ),
    ] = ""
    database_connections: Annotated[int, Field(ge=2, le=1000, description="to PostgreSQL, at most, of each server")] = (
        10
    )
    s3_endpoint: Annotated[
        str, Field(pattern=ORIGIN, description="the S3 server, such as https://s3.example.com:9000 (unset: AWS)")
    ] = ""
    s3_region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$", description="of the bucket (unset: as AWS_REGION)")] = (
        ""
    )
    s3_public_endpoint: Annotated[
        str, Field(pattern=ORIGIN, description="where clients reach the S3 server (unset: s3_endpoint)")
    ] = ""
    s3_redirects: Annotated[
        Literal["on", "off"], Field(description="whether clients get blobs from the S3 server itself")
    ] = "on"
    s3_encryption: Annotated[
        str,
        Field(
            pattern=r"^(AES256|aws:kms(:[A-Za-z0-9:/_-]+)?)?$",
            description="asked of the S3 server: AES256, aws:kms or aws:kms:KEY (unset: the bucket's own)",
        ),
    ] = ""
    s3_storage_class: Annotated[
        str, Field(pattern=r"^[A-Z_]*$", description="of the blobs, such as STANDARD_IA (unset: the bucket's own)")
    ] = ""
    s3_checksums: Annotated[
        Literal["auto", "when_required", "when_supported"],
        Field(description="the SDK's own checksums (auto: with AWS, not with other endpoints, some of which break)"),
    ] = "auto"
    s3_addressing: Annotated[
        Literal["auto", "path", "virtual"], Field(description="where the bucket's name goes in URLs of the S3 server")
    ] = "auto"
    upload_memory_mib: Annotated[
        int, Field(ge=32, description="that all uploads to an S3 server may take together; larger parts go to the disk")
    ] = 256
    host: Annotated[str, Field(description="the address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="the port to listen on")] = 5000
    workers: Annotated[int, Field(description="server processes; one, for now")] = 1
    tls_cert: Annotated[
        Path | None, Field(description="the server's certificate and its issuers', in PEM (unset: no TLS)")
    ] = None
    tls_key: Annotated[Path | None, Field(description="the private key of tls_cert, in PEM, not encrypted")] = None
    public_url: Annotated[
        str,
        Field(
            pattern=ORIGIN,
            description="where clients reach the registry (default: Locations are relative)",
        ),
    ] = ""
    trusted_proxies: Annotated[
        str, Field(description="addresses and networks whose X-Forwarded-… is believed, separated by commas")
    ] = ""
    anonymous: Annotated[
        Literal["none", "pull", "push"] | None,
        Field(description="what callers without credentials may do everywhere (unset: protected mode)"),
    ] = None
    admin_user: Annotated[
        str, Field(description="the first user, made with all rights when the registry starts and has none")
    ] = ""
    admin_password_file: Annotated[Path | None, Field(description="the file with that user's password")] = None
    requests_per_second: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="of one caller, or one address without credentials (0: as many as it likes)",
        ),
    ] = 0
    undelete_days: Annotated[
        int, Field(ge=0, le=3650, description="how long removed tags, manifests and repositories can come back")
    ] = 7
    lifecycle_hours: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="how often the server itself runs the due policies (0: never)"),
    ] = 0
    lifecycle_keys: Annotated[
        Literal["all", "ecr"], Field(description="which keys a policy may have: ECR's and ours, or ECR's alone")
    ] = "all"
    brake_percent: Annotated[
        int, Field(ge=1, le=100, description="a policy's run that would remove more of a repository stops")
    ] = 50
    collector: Annotated[Literal["on", "off"], Field(description="whether the server collects garbage")] = "on"
    scrub_mib_per_second: Annotated[
        float,
        Field(
            ge=0, allow_inf_nan=False, description="how fast the server reads its blobs again to check them (0: not)"
        ),
    ] = 1
    reserve_mib: Annotated[
        int | None,
        Field(ge=0, description="of the disk that pushes leave free for deletes (unset: a twentieth, at most 256)"),
    ] = None
    sparse_manifests: Annotated[
        Literal["refuse", "index", "accept"], Field(description="whether manifests may name absent content")
    ] = "refuse"
    metrics: Annotated[Literal["local", "public"], Field(description="who may read /metrics")] = "local"
    body_idle_seconds: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="a request whose body stops coming for so long is cut off")
    ] = 60
    bytes_per_second: Annotated[
        int, Field(ge=0, description="that a body or an answer must move at, once body_idle_seconds are over")
    ] = 256
    manifest_bytes: Annotated[
        int, Field(ge=4096, le=4 << 20, description="of a manifest: a larger one is refused with 413")
    ] = 4 << 20
    blob_bytes: Annotated[int, Field(ge=1, description="of a blob: a larger one is refused with 413")] = 5 << 40
    uploads_at_once: Annotated[
        int, Field(ge=1, description="requests that bring a blob's content; further ones are told to try again (503)")
    ] = 256
    target_bytes: Annotated[int, Field(ge=1024, le=1 << 20, description="of a request's path and query")] = 16384
    header_bytes: Annotated[int, Field(ge=4096, le=1 << 20, description="of all headers of a request together")] = 65536
    header_count: Annotated[int, Field(ge=20, le=1000, description="headers of a request")] = 100
    header_seconds: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="a request whose head takes longer to come is cut off")
    ] = 20
    idle_seconds: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="a connection without a request is closed after so long")
    ] = 75
    edge: Annotated[Literal["on", "off"], Field(description="off: uvicorn's own HTTP, which lets clients be slow")] = (
        "on"
    )
    drain_seconds: Annotated[
        int, Field(ge=0, description="how long requests in flight may take to end after SIGTERM")
    ] = 15
    log_format: Annotated[
        Literal["auto", "json", "text"], Field(description="auto: text on a terminal, else one JSON object a line")
    ] = "auto"

    @field_validator(
        "port",
        "workers",
        "database_connections",
        "upload_memory_mib",
        "requests_per_second",
        "undelete_days",
        "lifecycle_hours",
        "brake_percent",
        "scrub_mib_per_second",
        "reserve_mib",
        "body_idle_seconds",
        "bytes_per_second",
        "manifest_bytes",
        "blob_bytes",
        "uploads_at_once",
        "target_bytes",
        "header_bytes",
        "header_count",
        "header_seconds",
        "idle_seconds",
        "drain_seconds",
        mode="before",
    )
    @classmethod
    def _no_boolean(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError  # noqa: TRY004 - pydantic wants this one
        return value

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        _parse_networks(text)
        return text

    @field_validator("workers")
    @classmethod
    def _one_worker(cls, count: int) -> int:
        if count != 1:
            raise ValueError("this version serves with one process")
        return count

    @field_validator("storage")
    @classmethod
    def _blobs(cls, url: str) -> str:
        if url and not url.startswith("file:///") and not parse_url(url):
            raise ValueError(f"did you mean file://{url}?" if url.startswith("/") else "")
        return url

    @field_validator("database")
    @classmethod
    def _rows(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:////", *_POSTGRESQL)):
            raise ValueError(f"did you mean sqlite:///{url}?" if url.startswith("/") else "")
        return url

    @model_validator(mode="after")
    def _whole_pairs(self) -> Self:
        for pair in (("tls_cert", "tls_key"), ("admin_user", "admin_password_file")):
            given = [name for name in pair if getattr(self, name)]
            if len(given) == 1:
                missing = pair[1 - pair.index(given[0])]
                context = {"given": given[0], "missing": missing}
                raise PydanticCustomError("incomplete", "{given} needs {missing}", context)
        return self

    @property
    def scheme(self) -> str:
        """Of the URLs at which this server itself answers."""
        return "https" if self.tls_cert else "http"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is SQLite: then one server serves the registry."""
        return not self.database.startswith(_POSTGRESQL)

    @property
    def bucket(self) -> tuple[str, str] | None:
        """The S3 bucket and the prefix in it, without slashes at its ends; None when blobs are files."""
        return parse_url(self.storage)

    @property
    def storage_path(self) -> Path:
        """Where the files are, when blobs are files."""
        return Path(self.storage.removeprefix("file://")) if self.storage else self.data.absolute() / "blobs"

    @property
    def database_path(self) -> Path:
        """Of the embedded database."""
        return Path(self.database.removeprefix("sqlite:///")) if self.database else self.data.absolute() / "entrepot.db"

    @property
    def reserve(self) -> int | None:
        """In bytes."""
        return None if self.reserve_mib is None else self.reserve_mib << 20

    def read_admin_password(self) -> str:
        """The first line of the file. Raises OSError, ConfigInvalid."""
        try:
            text = self.admin_password_file.read_text("utf-8") if self.admin_password_file else ""
        except UnicodeDecodeError:
            raise ConfigInvalid(f"{self.admin_password_file} is not UTF-8: it holds one line, the password") from None
        return text.partition("\n")[0].removesuffix("\r")

    @property
    def proxies(self) -> list[Network]:
        return _parse_networks(self.trusted_proxies)


def _parse_networks(text: str) -> list[Network]:
    return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]


def hide_password(url: str) -> str:
    """The URL with *** in place of its password."""
    return _PASSWORD.sub(r"\1\3***\2", url)

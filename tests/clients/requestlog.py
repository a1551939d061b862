"""What the server said of each request: read from its JSON log, asked by the tests."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    status: int
    query: str = ""
    received: int = 0
    sent: int = 0
    range: str | None = None
    content_range: str | None = None
    media_type: str | None = None
    user_agent: str = ""
    actor: str = ""

    @classmethod
    def parse(cls, line: dict[str, Any]) -> Self:
        return cls(**{field.name: line[field.name] for field in fields(cls) if field.name in line})

    def __str__(self) -> str:
        url = f"{self.path}?{self.query}" if self.query else self.path
        ranges = "".join(
            f" [{name} {value}]"
            for name, value in (("range", self.range), ("content-range", self.content_range))
            if value
        )
        answer = f"{self.status} {self.media_type or ''} {self.sent} B"
        return f"{self.actor}: {self.method} {url}{ranges} {self.received} B -> {answer}"


class RequestLog(list[Request]):
    """The requests of one stretch of a scenario, oldest first."""

    def matching(self, method: str, path: str, status: int | None = None) -> "RequestLog":
        """Select by method, a regular expression for the whole path, and the status."""
        return RequestLog(
            request
            for request in self
            if request.method == method
            and re.fullmatch(path, request.path)
            and (status is None or request.status == status)
        )

    def uploads(self, repository: str) -> "RequestLog":
        """Every POST, PATCH and PUT of an upload session."""
        path = rf"/v2/{repository}/blobs/uploads(/[^/]*)?"
        return RequestLog(
            request
            for request in self
            if request.method in {"POST", "PATCH", "PUT"} and re.fullmatch(path, request.path)
        )

    def blob_bytes(self, repository: str) -> int:
        return sum(request.received for request in self.uploads(repository))

    def mounts(self, repository: str) -> "RequestLog":
        """The mounts that the server granted."""
        return RequestLog(
            request
            for request in self.uploads(repository)
            if request.method == "POST" and request.status == 201 and "mount=" in request.query
        )

    def served(self) -> "RequestLog":
        """What of the distribution API was not refused for want of credentials."""
        return RequestLog(request for request in self if request.path.startswith("/v2") and request.status != 401)

    def tokens(self) -> "RequestLog":
        """The tokens given out."""
        return RequestLog(request for request in self if request.path == "/token" and request.status == 200)

    def partial(self, repository: str) -> "RequestLog":
        """The downloads of a blob that were answered 206."""
        return self.matching("GET", rf"/v2/{repository}/blobs/[^/]+", 206)

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def read_requests(path: Path, offset: int = 0) -> Iterator[Request]:
    """Yield the requests logged after a byte offset; only a line still being written may be no JSON."""
    with path.open("rb") as log:
        log.seek(offset)
        for line in log:
            if not line.endswith(b"\n"):
                return
            entry = json.loads(line)
            if entry.get("event") == "request":
                yield Request.parse(entry)

"""Blobs and manifests to push, never the same twice, and a repository to push them to."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.api.running import RunningServer
from tests.api.wire import Reply

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"

ABSENT = f"sha256:{'0' * 64}"
_numbers = itertools.count(1)


def fresh_name() -> str:
    return f"test-{next(_numbers)}/app"


def fresh_blob(size: int = 100) -> bytes:
    """`size` bytes that no other blob begins with."""
    seed = hashlib.sha256(b"%d" % next(_numbers)).digest()
    return (seed * (size // len(seed) + 1))[:size]


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def describe(content: bytes, media_type: str = OCI_LAYER, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content, algorithm), "size": len(content), **more}


def to_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def image(config: bytes, layers: Iterable[bytes] = (), **more: Any) -> bytes:
    """An OCI image manifest."""
    described = [describe(layer) for layer in layers]
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(config, OCI_CONFIG),
        "layers": described,
    }
    return to_json(fields | more)


def index(children: Iterable[bytes], **more: Any) -> bytes:
    """An OCI index of image manifests."""
    described = [describe(child, OCI_MANIFEST) for child in children]
    return to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described} | more)


class Repository:
    """A repository on a server, as a client that knows what it does sees it."""

    def __init__(self, server: RunningServer, name: str = "") -> None:
        self.server = server
        self.name = name or fresh_name()

    def call(self, method: str, path: str, *headers: tuple[str, str], body: bytes | tuple[bytes, ...] = b"") -> Reply:
        """Call a path below the repository's."""
        return self.server.call(method, f"/v2/{self.name}/{path}", *headers, body=body)

    def push_blob(self, content: bytes | None = None, algorithm: str = "sha256") -> bytes:
        """Push a blob in one request; without content a fresh one."""
        content = fresh_blob() if content is None else content
        reply = self.call("POST", f"blobs/uploads/?digest={digest_of(content, algorithm)}", body=content)
        assert reply.status == 201, reply
        return content

    def start(self, query: str = "") -> str:
        """Open an upload session; returns its Location."""
        reply = self.call("POST", f"blobs/uploads/{query}")
        assert reply.status == 202, reply
        return reply["Location"]

    def put(self, reference: str, content: bytes, media_type: str | None = None, *headers: tuple[str, str]) -> Reply:
        """PUT a manifest with the media type that it states, or another one."""
        stated = media_type or json.loads(content).get("mediaType", "application/octet-stream")
        return self.call("PUT", f"manifests/{reference}", ("Content-Type", stated), *headers, body=content)

    def push_manifest(self, content: bytes, reference: str = "", media_type: str | None = None) -> str:
        """PUT a manifest, by its digest unless a tag is given; returns its digest."""
        reply = self.put(reference or digest_of(content), content, media_type)
        assert reply.status == 201, reply
        return reply["Docker-Content-Digest"]

    def push_image(self, reference: str = "", **more: Any) -> bytes:
        """Push an image of a fresh config and a fresh layer; returns its manifest."""
        content = image(self.push_blob(), [self.push_blob()], **more)
        self.push_manifest(content, reference)
        return content

    def status(self, path: str) -> int:
        return self.call("GET", path).status

    def tags(self) -> Sequence[str]:
        found: list[str] = self.call("GET", "tags/list").json["tags"]
        return found

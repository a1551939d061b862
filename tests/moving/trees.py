"""Other registries' files, made by hand in their documented layouts."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from storage.digest import Digest
from tests.scenarios.images import Content

START = 1_600_000_000  # Unix seconds


class Distribution:
    """A CNCF distribution tree below `path`; each manifest is a second younger than the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "docker" / "registry" / "v2"
        (self.root / "blobs").mkdir(parents=True)
        (self.root / "repositories").mkdir()
        self._now = START

    def file(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded / "data"

    def name(self, digest: Digest) -> str:
        """Where its bytes are, below `path`."""
        return self.file(digest).relative_to(self.path).as_posix()

    def put_blob(self, name: str, blob: Content) -> None:
        self._put_bytes(blob)
        self._link(self.root / "repositories" / name / "_layers", blob.digest)

    def put_manifest(self, name: str, manifest: Content, *tags: str) -> None:
        """With its tags, which keep what they pointed to before."""
        self._now += 1
        self._put_bytes(manifest)
        links = self.root / "repositories" / name / "_manifests"
        link = self._link(links / "revisions", manifest.digest)
        os.utime(link, (self._now, self._now))
        for tag in tags:
            self._link(links / "tags" / tag / "index", manifest.digest)
            self._write(links / "tags" / tag / "current" / "link", str(manifest.digest))

    def delete_manifest(self, name: str, digest: Digest) -> None:
        """As distribution does: only its link goes."""
        (self.root / "repositories" / name / "_manifests" / "revisions" / "sha256" / digest.encoded / "link").unlink()

    def snapshot(self) -> dict[str, tuple[bytes, int, int]]:
        """Every file with its content, mode and time of change."""
        return {
            path.relative_to(self.path).as_posix(): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in self.path.rglob("*")
            if path.is_file()
        }

    def _put_bytes(self, content: Content) -> None:
        file = self.file(content.digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.content)

    def _link(self, folder: Path, digest: Digest) -> Path:
        link = folder / digest.algorithm / digest.encoded / "link"
        self._write(link, str(digest))
        return link

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_layout(path: Path, named: Sequence[tuple[Content, str]], content: Sequence[Content]) -> None:
    """An OCI image layout: manifests with the names that its index gives them, and all that they need."""
    (path / "blobs" / "sha256").mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entries = [
        each.descriptor | ({"annotations": {"org.opencontainers.image.ref.name": name}} if name else {})
        for each, name in named
    ]
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    for each in (*content, *(manifest for manifest, _ in named)):
        (path / "blobs" / "sha256" / each.digest.encoded).write_bytes(each.content)

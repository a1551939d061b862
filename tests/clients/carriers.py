"""Docker, skopeo and crane as carriers of images: each pushes, pulls and compares, tags and deletes in its own way."""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .engines import DockerEngine
from .images import Image, Layout, blobs_in_layout, files_in_archive
from .registry import sha256
from .suites import ClientFailed, Suite

_ABSENT = re.compile(r"MANIFEST_UNKNOWN|manifest unknown|not found")
_PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64})")


class WrongBytes(AssertionError):
    """What was pulled is not what was pushed."""


@dataclass(frozen=True)
class Stored:
    """An acknowledged push, as its client knows it.

    `images` are the manifests that name layers, each with its config, which covers every layer's content; `digest` is
    the only one's, or that of the index above them. `contents` are the digests of all that was pushed, of docker's
    layers it does not say them; `files` are the first image's, with their digests.
    """

    repository: str
    digest: str
    images: Mapping[str, str]
    contents: frozenset[str]
    files: Mapping[str, str]

    @property
    def manifests(self) -> list[str]:
        """What names another one first."""
        return [self.digest, *(digest for digest in self.images if digest != self.digest)]

    def compare(self, pulled: Iterable[Path]) -> None:
        """Look for all of its contents among the files. Raises WrongBytes."""
        missing = self.contents - {sha256(path.read_bytes()) for path in pulled}
        if missing:
            raise WrongBytes(f"{self.repository}@{self.digest}: {missing} did not come")


class Carrier(Protocol):
    """A real client at its registry. What it cannot do raises ClientFailed."""

    most_images: int  # of an index; 1: it pushes none

    def push(self, images: tuple[Image, ...], repository: str, tag: str) -> Stored: ...

    def pull(self, stored: Stored, tag: str = "") -> None:
        """By the tag, if there is one, or by digest. Raises WrongBytes."""

    def has(self, stored: Stored) -> bool:
        """Whether the registry has it."""

    def tag(self, stored: Stored, tag: str) -> None:
        """Set another tag."""

    def delete(self, stored: Stored, digest: str) -> None:
        """One of its manifests."""


class _LayoutCarrier:
    """Pushes from an OCI layout, so that digests are known before the first request."""

    most_images = 2

    def __init__(self, suite: Suite, address: str) -> None:
        self._suite = suite
        self._address = address

    def push(self, images: tuple[Image, ...], repository: str, tag: str) -> Stored:
        layout = Layout(self._suite.folder("pushed"))
        try:
            described = [layout.add_image(image) for image in images]
            top = described[0] if len(images) == 1 else layout.add_index(images)
            layout.tag("1", top)
            contents = frozenset(blobs_in_layout(layout.folder))
            self._send(layout.folder, f"{self._address}/{repository}:{tag}")
        finally:
            shutil.rmtree(layout.folder)
        configs = {each["digest"]: image.id for each, image in zip(described, images, strict=True)}
        return Stored(repository, top["digest"], configs, contents, images[0].files)

    def pull(self, stored: Stored, tag: str = "") -> None:
        folder = self._suite.folder("pulled")
        try:
            self._fetch(_name(self._address, stored, tag), folder / "image")
            stored.compare(path for path in folder.rglob("*") if path.is_file())
        finally:
            shutil.rmtree(folder)

    def has(self, stored: Stored) -> bool:
        try:
            self._ask(_name(self._address, stored))
        except ClientFailed as failure:
            if not says_absent(failure):
                raise
            return False
        return True

    def _ask(self, reference: str) -> None:
        raise NotImplementedError

    def _send(self, layout: Path, reference: str) -> None:
        raise NotImplementedError

    def _fetch(self, reference: str, folder: Path) -> None:
        raise NotImplementedError


class Crane(_LayoutCarrier):
    def _ask(self, reference: str) -> None:
        self._suite.run("crane", "manifest", reference)

    def _send(self, layout: Path, reference: str) -> None:
        self._suite.run("crane", "push", layout, reference)

    def _fetch(self, reference: str, folder: Path) -> None:
        self._suite.run("crane", "pull", "--format=oci", reference, folder)

    def tag(self, stored: Stored, tag: str) -> None:
        self._suite.run("crane", "tag", _name(self._address, stored), tag)

    def delete(self, stored: Stored, digest: str) -> None:
        self._suite.run("crane", "delete", f"{self._address}/{stored.repository}@{digest}")


class Skopeo(_LayoutCarrier):
    def _ask(self, reference: str) -> None:
        self._suite.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}")

    def _send(self, layout: Path, reference: str) -> None:
        self._suite.run(
            "skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{reference}"
        )

    def _fetch(self, reference: str, folder: Path) -> None:
        self._suite.run("skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{reference}", f"dir:{folder}")

    def tag(self, stored: Stored, tag: str) -> None:
        target = f"docker://{self._address}/{stored.repository}:{tag}"
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        self._suite.run("skopeo", "copy", "--all", *plain, f"docker://{_name(self._address, stored)}", target)

    def delete(self, stored: Stored, digest: str) -> None:
        reference = f"docker://{self._address}/{stored.repository}@{digest}"
        self._suite.run("skopeo", "delete", "--tls-verify=false", reference)


class Docker:
    """Docker Engine; it cannot change what it has pushed, and remembers what it has pulled: there skopeo helps."""

    most_images = 1

    def __init__(self, engine: DockerEngine, skopeo: Skopeo, address: str) -> None:
        self._engine = engine
        self._skopeo = skopeo
        self._address = address

    def push(self, images: tuple[Image, ...], repository: str, tag: str) -> Stored:
        (image,) = images
        reference = f"{self._address}/{repository}:{tag}"
        archive = image.write_archive(self._engine.folder / "load.tar", reference)
        self._engine.run("load", "--input", archive)
        try:
            said = _PUSHED.search(self._engine.run("push", reference))
        finally:
            self._engine.forget(reference)
        assert said, f"docker pushed {reference} and says no digest"
        return Stored(repository, said[1], {said[1]: image.id}, frozenset((said[1], image.id)), image.files)

    def pull(self, stored: Stored, tag: str = "") -> None:
        reference = _name(self._address, stored, tag)
        self._engine.run("pull", reference)
        try:
            if files_in_archive(self._engine.save(reference)) != stored.files:
                raise WrongBytes(f"{reference} has other files")
        finally:
            self._engine.forget(reference)

    def has(self, stored: Stored) -> bool:
        return self._skopeo.has(stored)

    def tag(self, stored: Stored, tag: str) -> None:
        self._skopeo.tag(stored, tag)

    def delete(self, stored: Stored, digest: str) -> None:
        self._skopeo.delete(stored, digest)


def says_absent(failure: ClientFailed) -> bool:
    """Whether the client was told that there is no such manifest."""
    return bool(_ABSENT.search(str(failure)))


def _name(address: str, stored: Stored, tag: str = "") -> str:
    return f"{address}/{stored.repository}:{tag}" if tag else f"{address}/{stored.repository}@{stored.digest}"

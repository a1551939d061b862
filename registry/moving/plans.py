"""What is to be imported into one repository, in an order in which a registry takes it: parts come first."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import ManifestInvalid, NameInvalid
from registry.moving.sources import FindFile, Root, SourceRepository, Unreadable, guess_media_type, read_manifest
from registry.oci.manifest import MOST_BYTES, Kind, Manifest, parse_manifest
from registry.oci.names import RepositoryName
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not imported, and why; `reference` is a digest, or empty for something of the whole repository."""

    repository: str
    reference: str
    problem: str


@dataclass(frozen=True, slots=True)
class PlannedManifest:
    """`blobs` are those that it names itself: each digest, and whether the manifest is not complete without it."""

    digest: Digest
    media_type: str
    tags: tuple[str, ...]
    blobs: tuple[tuple[Digest, bool], ...]


@dataclass(slots=True)
class Plan:
    """For the repository `name`; `manifests` in the order in which they are pushed."""

    name: RepositoryName
    find_file: FindFile
    manifests: list[PlannedManifest] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, reference: object, problem: object) -> None:
        self.refusals.append(Refusal(self.name.value, str(reference), str(problem)))

    def measure(self, digest: Digest) -> int | None:
        """The size of the blob's file in bytes, None when it is not in the source."""
        return _measure(self.find_file(digest))


def make_plan(source: SourceRepository, name: str) -> Plan | Refusal:
    """A plan to import the repository under this name; a Refusal when that is no name. Raises OSError."""
    try:
        plan = Plan(RepositoryName.parse(name), source.find_file)
    except NameInvalid as invalid:
        return Refusal(name, "", str(invalid))
    for problem in source.problems:
        plan.refuse("", problem)
    _Planning(plan).visit(source.roots)
    return plan


class _Planning:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._seen: set[Digest] = set()
        self._kinds: dict[Digest, bool] = {}  # whether it is a manifest

    def visit(self, roots: Iterable[Root]) -> None:
        """Each manifest after its children; without recursion, because indexes can name indexes."""
        for root in roots:
            open_ends = [(root, False)]
            while open_ends:
                current, is_read = open_ends.pop()
                if current.digest in self._seen and not is_read:
                    continue
                self._seen.add(current.digest)
                manifest = self._read(current)
                if manifest is None:
                    continue
                children = [] if is_read else [each for each in self._children(manifest) if each not in self._seen]
                if children:
                    open_ends.append((current, True))
                    open_ends += [(Root(child), False) for child in reversed(children)]
                else:
                    self._add(current, manifest)

    def _read(self, root: Root) -> Manifest | None:
        try:
            content = read_manifest(self._plan.find_file, root.digest)
            media_type = guess_media_type(content) or root.media_type
            return parse_manifest(content, media_type or None, root.digest.algorithm)
        except (Unreadable, ManifestInvalid) as problem:
            self._plan.refuse(root.digest, problem)
            return None

    def _children(self, manifest: Manifest) -> list[Digest]:
        named = [each.digest for each in manifest.references if each.kind is Kind.CHILD]
        for digest in named:
            if digest not in self._kinds:
                self._kinds[digest] = self._is_manifest(digest)
        return [digest for digest in named if self._kinds[digest]]

    def _is_manifest(self, digest: Digest) -> bool:
        """BuildKit's caches are indexes of blobs."""
        size = self._plan.measure(digest)
        if size is None or size > MOST_BYTES:
            return False
        try:
            return bool(guess_media_type(read_manifest(self._plan.find_file, digest)))
        except Unreadable:
            return False

    def _add(self, root: Root, manifest: Manifest) -> None:
        parts = set(self._children(manifest))
        blobs = tuple(
            (each.digest, each.is_required)
            for each in manifest.references
            if each.kind is not Kind.SUBJECT and each.digest not in parts
        )
        self._plan.manifests.append(PlannedManifest(root.digest, manifest.media_type, root.tags, blobs))


def _measure(path: Path) -> int | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None  # whoever reads a pipe waits for ever

"""What is to be imported into one repository, in an order in which a registry takes it: parts come first."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from registry.errors import ManifestInvalid, NameInvalid
from registry.moving.sources import Contents, Root, SourceRepository, Unreadable, guess_media_type, read_manifest
from registry.oci.manifest import MOST_BYTES, Kind, Manifest, parse_manifest
from registry.oci.names import RepositoryName
from storage.digest import Digest

_AHEAD = 16  # manifests are announced to the source at a time


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
    contents: Contents
    manifests: list[PlannedManifest] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, reference: object, problem: object) -> None:
        self.refusals.append(Refusal(self.name.value, str(reference), str(problem)))

    async def measure(self) -> dict[Digest, int | None]:
        """The size of each blob in bytes, None of those that are not in the source.

        Raises SourceUnavailable, OSError.
        """
        return await self.contents.measure({digest for manifest in self.manifests for digest, _ in manifest.blobs})


async def make_plan(source: SourceRepository, name: str) -> Plan | Refusal:
    """A plan to import the repository under this name; a Refusal when that is no name.

    Raises SourceUnavailable, OSError.
    """
    try:
        plan = Plan(RepositoryName.parse(name), source.contents)
    except NameInvalid as invalid:
        return Refusal(name, "", str(invalid))
    for problem in source.problems:
        plan.refuse("", problem)
    planning = _Planning(plan, source.roots)
    for first in range(0, len(source.roots), _AHEAD):
        await planning.visit(source.roots[first : first + _AHEAD])
    return plan


class _Planning:
    def __init__(self, plan: Plan, roots: Sequence[Root]) -> None:
        self._plan = plan
        self._roots = {root.digest: root for root in roots}  # also when they are met as a part of another one first
        self._seen: set[Digest] = set()
        self._kinds: dict[Digest, bool] = {}  # whether it is a manifest

    async def visit(self, roots: Sequence[Root]) -> None:
        """Each manifest after its children; without recursion, because indexes can name indexes."""
        await self._expect([root.digest for root in roots])
        for root in roots:
            open_ends = [(root, False)]
            while open_ends:
                current, is_read = open_ends.pop()
                if current.digest in self._seen and not is_read:
                    continue
                self._seen.add(current.digest)
                manifest = await self._read(current)
                if manifest is None:
                    continue
                parts = await self._children(manifest)
                children = [] if is_read else [each for each in parts if each not in self._seen]
                if children:
                    open_ends.append((current, True))
                    open_ends += [(self._roots.get(child, Root(child)), False) for child in reversed(children)]
                else:
                    self._add(current, manifest, parts)

    async def _expect(self, digests: list[Digest]) -> None:
        await self._plan.contents.expect([each for each in digests if each not in self._seen], MOST_BYTES)

    async def _read(self, root: Root) -> Manifest | None:
        try:
            content = await read_manifest(self._plan.contents, root.digest)
            media_type = guess_media_type(content) or root.media_type
            return parse_manifest(content, media_type or None, root.digest.algorithm)
        except (Unreadable, ManifestInvalid) as problem:
            self._plan.refuse(root.digest, problem)
            return None

    async def _children(self, manifest: Manifest) -> list[Digest]:
        named = [each.digest for each in manifest.references if each.kind is Kind.CHILD]
        unknown = [digest for digest in named if digest not in self._kinds]
        await self._expect(unknown)
        for digest in unknown:
            self._kinds[digest] = await self._is_manifest(digest)
        return [digest for digest in named if self._kinds[digest]]

    async def _is_manifest(self, digest: Digest) -> bool:
        """BuildKit's caches are indexes of blobs."""
        try:
            size = (await self._plan.contents.measure([digest]))[digest]
            if size is None or size > MOST_BYTES:
                return False
            return bool(guess_media_type(await read_manifest(self._plan.contents, digest)))
        except Unreadable:
            return False

    def _add(self, root: Root, manifest: Manifest, children: list[Digest]) -> None:
        parts = set(children)
        blobs = tuple(
            (each.digest, each.is_required)
            for each in manifest.references
            if each.kind is not Kind.SUBJECT and each.digest not in parts
        )
        self._plan.manifests.append(PlannedManifest(root.digest, manifest.media_type, root.tags, blobs))

"""What must be true of a registry that is collected, as plain dictionaries: the promises of design, written again.

It says what must be there and what must not be left at the end. In between, what nobody was promised may be there or
not: the collector chooses its time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from registry.oci.media_types import IMAGES, INDEXES, OCI_ARTIFACT
from tests.scenarios.images import Content

DAY = 24 * 3_600_000  # milliseconds
LEASE = DAY


@dataclass(slots=True)
class Deletable:
    """Deleted at `deleted_at` (None: it is visible). `has_lapsed`: its undelete window has ended since."""

    deleted_at: int | None = None
    has_lapsed: bool = False

    @property
    def is_visible(self) -> bool:
        return self.deleted_at is None

    @property
    def is_kept(self) -> bool:
        """Visible, or deleted and to be had back."""
        return not self.has_lapsed

    def delete(self, now: int) -> None:
        self.deleted_at, self.has_lapsed = now, False

    def restore(self) -> None:
        self.deleted_at, self.has_lapsed = None, False

    def lapse(self, now: int, days: int) -> None:
        self.has_lapsed |= self.deleted_at is not None and self.deleted_at + days * DAY <= now


@dataclass(slots=True)
class Right(Deletable):
    """To a blob. A client was told that it is there, and may count on it until `told_until`."""

    told_until: int = 0


@dataclass(slots=True)
class Stored(Deletable):
    """A manifest. Of the digests that it names it holds these blobs and children.

    `was_held`: by a tag, an index, or a client who restored it: then it may have survived its subject.
    """

    content: Content = field(kw_only=True)
    pushed_at: int = field(kw_only=True)
    blobs: set[str] = field(default_factory=set)
    children: set[str] = field(default_factory=set)
    was_held: bool = False


@dataclass(slots=True)
class Repository(Deletable):
    name: str = field(kw_only=True)
    id: int = 0  # unknown until somebody looks
    days: int | None = None
    rights: dict[str, Right] = field(default_factory=dict)
    manifests: dict[str, Stored] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)  # what a tag pointed to when it was deleted

    def visible(self) -> Iterator[tuple[str, Stored]]:
        return ((digest, one) for digest, one in self.manifests.items() if one.is_visible)

    def sees(self, digest: str) -> bool:
        return digest in self.manifests and self.manifests[digest].is_visible

    def parents(self, digest: str) -> set[str]:
        """The visible manifests that hold it as a child."""
        return {parent for parent, one in self.visible() if digest in one.children}

    def namers(self, digest: str) -> set[str]:
        """The visible manifests that hold it as a blob."""
        return {namer for namer, one in self.visible() if digest in one.blobs}

    def must_have(self, digest: str, now: int) -> bool:
        """Whether a client that asks for the blob must be given it."""
        right = self.rights.get(digest)
        if right is None or not right.is_visible:
            return False
        is_named = any(digest in self.manifests[holder].blobs for holder in self.kept_manifests())
        return is_named or right.told_until > now

    def kept_manifests(self) -> set[str]:
        """The manifests that are visible or can come back, and what can come back with them."""
        kept: set[str] = set()
        waiting = [digest for digest, one in self.manifests.items() if one.is_kept]
        while waiting:
            digest = waiting.pop()
            waiting += self.manifests[digest].children - kept - {digest}
            kept.add(digest)
        return kept

    def tell(self, digest: str, until: int) -> None:
        """A client is told that the blob is there."""
        self.give(digest)
        right = self.rights[digest]
        right.told_until = max(right.told_until, until)

    def give(self, digest: str) -> None:
        """The blob is there, or there again: what waited for it holds it."""
        right = self.rights.setdefault(digest, Right(deleted_at=0))
        if right.is_visible:
            return
        right.restore()
        for one in self.manifests.values():
            blobs, children = named_by(one.content)
            if digest in (blobs | children) - one.children:
                one.blobs.add(digest)

    def set_tag(self, tag: str, digest: str) -> None:
        self.tags[tag] = digest
        self.closed.pop(tag, None)

    def push(self, manifest: Content, now: int) -> None:
        """Children are sought as manifests, then as blobs; what is not here is waited for."""
        digest = str(manifest.digest)
        if self.sees(digest):
            return
        blobs, children = named_by(manifest)
        stored = Stored(content=manifest, pushed_at=now)
        stored.children = {child for child in children if self.sees(child)}
        named = blobs | (children - stored.children)
        stored.blobs = {blob for blob in named if self.may_have(blob)} if not demands(manifest) else named
        for blob in stored.blobs:
            self.give(blob)
        self.manifests[digest] = stored
        self.join_parents(digest)

    def may_have(self, digest: str) -> bool:
        return digest in self.rights and self.rights[digest].is_visible

    def join_parents(self, digest: str) -> None:
        """What took it for a blob, or waited for it, holds it as a manifest from now on."""
        for one in self.manifests.values():
            if digest in named_by(one.content)[1]:
                one.blobs.discard(digest)
                one.children.add(digest)

    def delete_manifest(self, digest: str, now: int) -> None:
        self.manifests[digest].delete(now)
        self.closed |= {tag: target for tag, target in self.tags.items() if target == digest}
        self.tags = {tag: target for tag, target in self.tags.items() if target != digest}

    def restore_manifest(self, digest: str) -> None:
        """With all that it names."""
        stored = self.manifests[digest]
        if not stored.is_visible:
            stored.restore()
            stored.was_held = True
            self.join_parents(digest)
        for blob in sorted(stored.blobs):
            self.give(blob)
        for child in stored.children:
            self.restore_manifest(child)

    def lapse(self, now: int, days: int) -> None:
        """See what can no longer be counted on."""
        window = days if self.days is None else self.days
        Deletable.lapse(self, now, window)
        for part in (*self.rights.values(), *self.manifests.values()):
            part.lapse(now, window)
        for one in self.manifests.values():
            if one.has_lapsed:
                self.end_leases(one)

    def end_leases(self, ended: Stored) -> None:
        """Those of the push that brought the manifest, and of all that came before it."""
        for blob in ended.blobs & self.rights.keys():
            if self.rights[blob].told_until <= ended.pushed_at + LEASE:
                self.rights[blob].told_until = 0

    def note_holders(self) -> None:
        """See which manifests a tag or an index holds, in case their subject ends meanwhile."""
        held = set(self.tags.values()).union(*(one.children for one in self.manifests.values()))
        for digest in held & self.manifests.keys():
            self.manifests[digest].was_held = True

    def may_end_with_subject(self, digest: str) -> bool:
        """Whether the collector may delete the manifest because its subject is gone for good."""
        stored = self.manifests[digest]
        subject = self.manifests.get(subject_of(stored.content) or "")
        if subject is None or not subject.has_lapsed or digest in self.tags.values() or self.parents(digest):
            return False
        return stored.pushed_at <= (subject.deleted_at or 0)

    def must_end_with_subject(self, digest: str) -> bool:
        """Whether it may have, and nothing can have saved it."""
        return self.may_end_with_subject(digest) and not self.manifests[digest].was_held


class Oracle:
    """All repositories that there were; of one name at most one is visible."""

    def __init__(self, days: int) -> None:
        self.days = days
        self.repositories: list[Repository] = []

    def visible(self) -> list[Repository]:
        return [one for one in self.repositories if one.is_visible]

    def find(self, name: str) -> Repository | None:
        return next((one for one in self.visible() if one.name == name), None)

    def get(self, name: str) -> Repository:
        """The repository, which begins to exist with its first content."""
        found = self.find(name)
        if found is None:
            found = Repository(name=name)
            self.repositories.append(found)
        return found

    def find_deleted(self, name: str) -> Repository | None:
        """The one that was deleted last."""
        deleted = [one for one in self.repositories if one.name == name and not one.is_visible]
        return max(deleted, key=lambda one: one.deleted_at or 0, default=None)

    def lapse(self, now: int) -> None:
        for one in self.repositories:
            one.lapse(now, self.days)
            one.note_holders()


def named_by(manifest: Content) -> tuple[set[str], set[str]]:
    """The digests of the blobs that the manifest names, and of the children, whatever its type calls them."""
    fields = json.loads(manifest.content)
    blobs = [*fields.get("layers", []), *fields.get("blobs", [])] + ([fields["config"]] if "config" in fields else [])
    return {one["digest"] for one in blobs}, {one["digest"] for one in fields.get("manifests", [])}


def demands(manifest: Content) -> bool:
    """Whether a push is refused when what it names is not there: only of types that the registry knows."""
    return manifest.media_type in IMAGES | INDEXES | {OCI_ARTIFACT}


def subject_of(manifest: Content) -> str | None:
    subject = json.loads(manifest.content).get("subject")
    return str(subject["digest"]) if subject else None

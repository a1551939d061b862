"""What a registry should hold, as plain sets and dictionaries; the decisions are design's, written a second time."""

import json
from dataclasses import dataclass, field

from tests.scenarios.images import Content


@dataclass(slots=True)
class RepositoryModel:
    """Digests as text. `history` of a tag: what it pointed to, the latest last."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, Content] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)

    def missing(self, manifest: Content, sparse: str) -> set[str]:
        """What must be pushed before the manifest."""
        blobs, children = named_by(manifest)
        absent_blobs = blobs - self.blobs if sparse != "accept" else set()
        absent_children = children - self.blobs - set(self.manifests) if sparse == "refuse" else set()
        return absent_blobs | absent_children

    def parents(self, digest: str) -> set[str]:
        """The manifests that name the digest as a part of them."""
        return {parent for parent, manifest in self.manifests.items() if digest in set.union(*named_by(manifest))}

    def set_tag(self, tag: str, digest: str) -> None:
        if self.tags.get(tag) != digest:
            self.tags[tag] = digest
            self.history.setdefault(tag, []).append(digest)

    def delete_manifest(self, digest: str) -> None:
        del self.manifests[digest]
        self.tags = {tag: target for tag, target in self.tags.items() if target != digest}

    def referrers(self, subject: str) -> list[str]:
        return sorted(digest for digest, manifest in self.manifests.items() if subject_of(manifest) == subject)


@dataclass(slots=True)
class SessionModel:
    """An upload session: `id` in the repository `name`, where the first `offset` bytes of `blob` are stored."""

    id: str
    name: str
    blob: Content
    offset: int = 0
    is_closed: bool = False


def named_by(manifest: Content) -> tuple[set[str], set[str]]:
    """The digests of the blobs that the manifest names, and of the children."""
    fields = json.loads(manifest.content)
    blobs = [fields["config"], *fields["layers"]] if "config" in fields else []
    return {one["digest"] for one in blobs}, {one["digest"] for one in fields.get("manifests", [])}


def subject_of(manifest: Content) -> str | None:
    subject = json.loads(manifest.content).get("subject")
    return str(subject["digest"]) if subject else None

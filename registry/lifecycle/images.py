"""An image as a policy sees it: a manifest with its tags, its instants and its relations. Instants are Unix ms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.lifecycle.patterns import Pattern


@dataclass(frozen=True, slots=True)
class Blob:
    """`size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Every manifest of a repository is an image of its own: an index, each of its children, each referrer.

    `tags` has for each tag the instant since which it points here, `pulls` for each identity that of its last pull.
    `size` is bytes that are this image's alone; `blobs` are those that it may share with others, counted once.
    `children` and `subject` are digests, which need not be here. `archived_at` is None outside of the archive.
    `was_tagged`: it had a tag once.
    """

    digest: str
    media_type: str
    pushed_at: int
    tags: Mapping[str, int] = field(default_factory=dict)
    pulls: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    blobs: tuple[Blob, ...] = ()
    children: tuple[str, ...] = ()
    subject: str | None = None
    archived_at: int | None = None
    restored_at: int | None = None
    was_tagged: bool = False

    @property
    def counted_at(self) -> int:
        """When it was pushed, or came back from the archive: what ages and ranks go by."""
        return self.pushed_at if self.restored_at is None else self.restored_at

    @property
    def is_newborn(self) -> bool:
        """It never had a tag: it may be a part of an index that is being pushed."""
        return not self.tags and not self.was_tagged

    @property
    def shown_at(self) -> int:
        """When a client was last told that it is here, by a push, a HEAD or a GET: its index may be on its way."""
        return max((self.pushed_at, *self.pulls.values()))

    @property
    def removal_key(self) -> tuple[int, bool, str]:
        """Sorts the oldest first. Of images of one instant an index is the newest: it comes after its children."""
        at = self.counted_at if self.archived_at is None else self.archived_at
        return at, bool(self.children), self.digest

    def last_pulled_at(self, ignored: Sequence[Pattern] = ()) -> int | None:
        """The last pull by an identity whose name matches no `ignored` pattern."""
        return max(
            (at for name, at in self.pulls.items() if not any(pattern.is_match(name) for pattern in ignored)),
            default=None,
        )

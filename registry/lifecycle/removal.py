"""Which of the images that rules mark can go: none that an index still contains, and referrers with their subject."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from registry.lifecycle.images import Image

Links = Mapping[str, Sequence[str]]
Pair = tuple[str, str]


class Relations:
    """Who holds whom in a repository, by digest. An image cannot go before all its `holders` are gone.

    Holders are the indexes that contain it and, of a referrer without a tag of its own, the subject.
    """

    def __init__(self, images: Mapping[str, Image]) -> None:
        pairs = [
            (digest, child)
            for digest in sorted(images)
            for child in dict.fromkeys(images[digest].children)
            if child in images and child != digest
        ]
        referrers = [
            (subject, digest)
            for digest in sorted(images)
            if (subject := images[digest].subject) is not None
            and subject in images
            and subject != digest
            and not images[digest].tags
        ]
        pairs = list(dict.fromkeys(pairs + referrers))
        self.referrers: Links = _group(referrers)
        self.held: Links = _group(pairs)
        self.holders: Links = _group((held, holder) for holder, held in pairs)

    def descend(self, digests: Iterable[str]) -> list[str]:
        """Holders before what they hold. What holds itself, which no digest can, is left out."""
        order = [digest for digest in digests if digest not in self.holders]
        waiting = {digest: len(holders) for digest, holders in self.holders.items()}
        for digest in order:  # grows while it is walked
            for other in self.held.get(digest, ()):
                waiting[other] -= 1
                if not waiting[other]:
                    order.append(other)
        return order


class Removals:
    """The images that go, in an order in which no holder is left behind; `unmovable` ones never do.

    `gone` has for each the one that it went with, None if it went for itself.
    """

    def __init__(self, relations: Relations, unmovable: AbstractSet[str]) -> None:
        self._relations = relations
        self._unmovable = unmovable
        self._referrers = {digest for each in relations.referrers.values() for digest in each}
        self._waiting = {digest: len(holders) for digest, holders in relations.holders.items()}
        self._marked: set[str] = set()
        self.gone: dict[str, str | None] = {}

    def mark(self, digest: str, loose: AbstractSet[str] = frozenset()) -> list[str]:
        """What goes now because of this one: itself unless it is held, what waited for it, and its referrers.

        What is `loose` goes too, without a mark, when the last that holds it does.
        """
        self._marked.add(digest)
        going = [digest] if self._can_go(digest, loose) else []
        if going:
            self.gone[digest] = None
        for each in going:  # grows while it is walked
            for other in self._relations.held.get(each, ()):
                self._waiting[other] -= 1
                if self._can_go(other, loose):
                    self.gone[other] = each
                    going.append(other)
        return going

    def is_free(self, digest: str) -> bool:
        """Whether nothing that is still there holds it."""
        return not self._waiting.get(digest)

    def list_holders(self, digest: str) -> list[str]:
        """Those that are still there, indexes before the subject."""
        return [holder for holder in self._relations.holders.get(digest, ()) if holder not in self.gone]

    def _can_go(self, digest: str, loose: AbstractSet[str]) -> bool:
        if digest in self._unmovable or digest in self.gone or not self.is_free(digest):
            return False
        return digest in self._marked or digest in self._referrers or digest in loose


class Weight:
    """The bytes of images, each blob counted once however many of them share it."""

    def __init__(self, images: Iterable[Image]) -> None:
        self._uses: Counter[str] = Counter()
        self.total = 0
        for image in images:
            self.total += image.size
            for blob in dict.fromkeys(image.blobs):
                self.total += 0 if self._uses[blob.digest] else blob.size
                self._uses[blob.digest] += 1

    def remove(self, image: Image) -> None:
        """One that was given to the constructor, and once."""
        self.total -= image.size
        for blob in dict.fromkeys(image.blobs):
            self._uses[blob.digest] -= 1
            self.total -= 0 if self._uses[blob.digest] else blob.size


def sort_by_removal(gone: Iterable[str], relations: Relations, images: Mapping[str, Image]) -> list[str]:
    """As ECR removes: oldest first, what is held skipped, and again from the oldest until nothing is left.

    `gone` has holders before what they hold, as `Removals.gone` has.
    """
    rounds: dict[str, int] = {}
    for digest in gone:
        key = images[digest].removal_key
        rounds[digest] = max(
            (
                rounds[holder] + (key < images[holder].removal_key)
                for holder in relations.holders.get(digest, ())
                if holder in rounds
            ),
            default=0,
        )
    return sorted(rounds, key=lambda digest: (rounds[digest], images[digest].removal_key))


def _group(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for key, value in pairs:
        grouped.setdefault(key, []).append(value)
    return grouped

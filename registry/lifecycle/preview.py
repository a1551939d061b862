"""What a policy would do to a repository: the verdicts, the bytes that become free, and whether the brake holds it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from registry.lifecycle.images import Blob
from registry.lifecycle.verdicts import Outcome, Verdict
from registry.oci.names import RepositoryName

GRACE = 60 * 60 * 1000  # milliseconds: images pushed since then stay, for an index that names them may be on its way
_LEAST_BRAKED = 10  # removals that no brake stops, however few images there are


@dataclass(frozen=True, slots=True)
class Brake:
    """How much would go, of `images` in the repository and of `tags` that rules about tags can take.

    More than `percent` of either are too many, unless they are ten or fewer.
    """

    percent: int
    images: int
    expired_images: int
    tags: int
    expired_tags: int

    @property
    def is_on(self) -> bool:
        """Whether a run stops, and waits for somebody to say that it is meant."""
        return self._is_too_much(self.expired_images, self.images) or self._is_too_much(self.expired_tags, self.tags)

    def _is_too_much(self, expired: int, there: int) -> bool:
        return expired > _LEAST_BRAKED and expired * 100 > there * self.percent


@dataclass(frozen=True, slots=True)
class Preview:
    """`at` in Unix milliseconds; `text` is the policy's.

    `freed` has for each image that expires, by digest, the bytes that become free with it, after those before it: of a
    layer that several share, with the last. They are free when `undelete_days` have passed.
    """

    repository: RepositoryName
    text: str
    at: int
    verdicts: Sequence[Verdict]
    freed: Mapping[str, int]
    brake: Brake
    undelete_days: int

    @property
    def expired(self) -> list[Verdict]:
        """Those of images that go, in the order in which they can."""
        return [verdict for verdict in self.verdicts if verdict.outcome is Outcome.EXPIRED]

    @property
    def freed_bytes(self) -> int:
        return sum(self.freed.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing goes, not even a tag."""
        return not any(verdict.outcome is Outcome.EXPIRED or verdict.expired_tags for verdict in self.verdicts)


def apply_brake(verdicts: Iterable[Verdict], percent: int) -> Brake:
    images = expired_images = tags = expired_tags = 0
    for verdict in verdicts:
        images += 1
        expired_images += verdict.outcome is Outcome.EXPIRED
        tags += len(verdict.image.tags)
        expired_tags += len(verdict.expired_tags)
    return Brake(percent, images, expired_images, tags, expired_tags)


def measure_freed(
    verdicts: Iterable[Verdict], blobs: Mapping[str, Sequence[Blob]], shared: AbstractSet[str]
) -> dict[str, int]:
    """Bytes by digest of the image that expires. `blobs` are those of every image, each once; `shared` stay anyway."""
    uses = Counter(blob.digest for each in blobs.values() for blob in each)
    freed: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.outcome is not Outcome.EXPIRED:
            continue
        image = verdict.image
        freed[image.digest] = image.size
        for blob in blobs.get(image.digest, ()):
            uses[blob.digest] -= 1
            if not uses[blob.digest] and blob.digest not in shared:
                freed[image.digest] += blob.size
    return freed

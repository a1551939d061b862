"""The values of a policy: its rules, what each selects, counts and does."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern


class Action(StrEnum):
    """The last two are ours, and stand in a rule in place of ECR's `action`."""

    EXPIRE = "expire"
    TRANSITION = "transition"
    KEEP = "keep"
    EXPIRE_TAGS = "expireTags"


class TagStatus(StrEnum):
    TAGGED = "tagged"
    UNTAGGED = "untagged"
    ANY = "any"


class StorageClass(StrEnum):
    STANDARD = "standard"
    ARCHIVE = "archive"


class CountType(StrEnum):
    """What a rule counts: ECR's values of `countType`, then our keys, which stand in its place, then nothing."""

    IMAGE_COUNT_MORE_THAN = "imageCountMoreThan"
    SINCE_IMAGE_PUSHED = "sinceImagePushed"
    SINCE_IMAGE_PULLED = "sinceImagePulled"
    SINCE_IMAGE_TRANSITIONED = "sinceImageTransitioned"
    NOT_PULLED_FOR_DAYS = "notPulledForDays"
    REPOSITORY_SIZE_MORE_THAN = "repositorySizeMoreThan"
    TAG_COUNT_MORE_THAN = "tagCountMoreThan"
    TAG_OLDER_THAN_DAYS = "tagOlderThanDays"
    NEWEST_IMAGES = "newestImages"
    PULLED_WITHIN_DAYS = "pulledWithinDays"
    PUSHED_WITHIN_DAYS = "pushedWithinDays"
    EVERY = ""


ECR_COUNT_TYPES = (
    CountType.IMAGE_COUNT_MORE_THAN,
    CountType.SINCE_IMAGE_PUSHED,
    CountType.SINCE_IMAGE_PULLED,
    CountType.SINCE_IMAGE_TRANSITIONED,
)


@dataclass(frozen=True, slots=True)
class Count:
    """`number` is of images, days, bytes or tags, as `kind` says."""

    kind: CountType
    number: int

    @property
    def is_ecr(self) -> bool:
        return self.kind in ECR_COUNT_TYPES


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images a rule speaks of; `ignored` are patterns of the identities whose pulls do not count.

    An image needs a tag for each of the `patterns`, or with `is_any_enough` for one of them.
    """

    tag_status: TagStatus
    count: Count
    storage_class: StorageClass | None = StorageClass.STANDARD
    patterns: tuple[Pattern, ...] = ()
    is_any_enough: bool = False
    ignored: tuple[Pattern, ...] = ()

    def selects(self, image: Image) -> bool:
        """By tags and storage class alone: the count is another matter."""
        return self._fits_class(image) and self._fits_tags(image.tags.keys())

    def names(self, tag: str) -> bool:
        """Whether the tag is one that the rule speaks of."""
        return not self.patterns or any(pattern.is_match(tag) for pattern in self.patterns)

    def _fits_class(self, image: Image) -> bool:
        if self.storage_class is None:
            return True
        return (image.archived_at is not None) == (self.storage_class is StorageClass.ARCHIVE)

    def _fits_tags(self, tags: Collection[str]) -> bool:
        if self.tag_status is TagStatus.ANY:
            return True
        if self.tag_status is TagStatus.UNTAGGED:
            return not tags
        enough = any if self.is_any_enough else all
        return enough(any(pattern.is_match(tag) for tag in tags) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Rule:
    """`priority`: the lower number goes first."""

    priority: int
    selection: Selection
    action: Action
    description: str = ""

    @property
    def count(self) -> Count:
        return self.selection.count

    @property
    def is_ordered(self) -> bool:
        """Whether it takes whole images in its turn. A rule that keeps comes before all turns."""
        return self.action in {Action.EXPIRE, Action.TRANSITION}

    @property
    def shields(self) -> bool:
        """Whether lower rules leave alone all that it selects, as in ECR; with our counts, only what it takes."""
        return self.is_ordered and self.count.is_ecr


@dataclass(frozen=True, slots=True)
class Policy:
    """`rules` by their priority."""

    rules: tuple[Rule, ...]

    @property
    def has_size(self) -> bool:
        """Whether a rule looks at bytes: else nobody needs to load them."""
        return any(rule.count.kind is CountType.REPOSITORY_SIZE_MORE_THAN for rule in self.rules)

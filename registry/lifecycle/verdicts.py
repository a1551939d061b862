"""What becomes of an image, and why: the values that the engine answers with."""

from dataclasses import dataclass
from enum import StrEnum

from registry.lifecycle.images import Image


class Outcome(StrEnum):
    """TRANSITION is shown and never applied: there is no archive to move to."""

    KEPT = "kept"
    EXPIRED = "expired"
    TRANSITION = "transition"


@dataclass(frozen=True, slots=True)
class ExpiredTag:
    """A tag that a rule about tags takes from an image that stays."""

    name: str
    rule: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` is the rulePriority of the rule that decided, None if none did; `reason` is one sentence.

    `held_by` is the digest of the index or subject that keeps here what the rule would take, `follows` that of the
    subject or index that it goes with, unmarked.
    """

    image: Image
    outcome: Outcome
    rule: int | None
    reason: str
    held_by: str | None = None
    follows: str | None = None
    expired_tags: tuple[ExpiredTag, ...] = ()

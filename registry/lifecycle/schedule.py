"""When a policy can decide otherwise although nothing changes: images and tags get older."""

from collections.abc import Iterable, Iterator, Sequence

from registry.lifecycle.claims import DAY, RANKED, assess, claim_tag
from registry.lifecycle.images import Image
from registry.lifecycle.rules import Action, CountType, Policy, Rule

_AGELESS = {*RANKED, CountType.REPOSITORY_SIZE_MORE_THAN, CountType.EVERY}


def find_next_due(policy: Policy, images: Iterable[Image], now: int, *, grace: int = 0) -> int | None:
    """The earliest instant after `now` at which a verdict can be another one; None if time alone changes nothing.

    All are Unix milliseconds, `grace` as in `select_expired`. It may be early, and never is late: any instant before
    it has the verdicts of `now`. A pull can only put it off.
    """
    known = list(images)
    turns = [image.shown_at + grace for image in known if grace and image.is_newborn]
    for rule in policy.rules:
        if rule.count.kind not in _AGELESS:
            turns += (instant + rule.count.number * DAY + 1 for instant in _list_instants(rule, known, now))
    return min((turn for turn in turns if turn > now), default=None)


def _list_instants(rule: Rule, images: Sequence[Image], now: int) -> Iterator[int]:
    """What the rule counts ages from: of each image, or of each tag."""
    if rule.action is Action.EXPIRE_TAGS:
        claims = [
            claim_tag(rule, image, tag, 0, now) for image in images for tag in image.tags if rule.selection.names(tag)
        ]
    else:
        claims = [claim for _, claim in assess(rule, images, now)]
    return (claim.measure for claim in claims if claim.measure is not None)

"""Rules about tags: they take a tag from its image, which stays, also when that was its last."""

from collections.abc import Mapping, Sequence

from registry.lifecycle.claims import Claim, claim_tag
from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern
from registry.lifecycle.protection import find_pattern
from registry.lifecycle.rules import Action, Policy
from registry.lifecycle.verdicts import ExpiredTag


def find_expired_tags(
    policy: Policy,
    images: Mapping[str, Image],
    kept: Mapping[str, Sequence[Claim]],
    now: int,
    protected: Sequence[Pattern] = (),
) -> dict[str, tuple[ExpiredTag, ...]]:
    """By the digest of their image, sorted by name; of each tag the first rule that takes it.

    A rule that keeps an image keeps the tags of it that the rule names, so those are not among them, nor are those
    like one of the `protected`.
    """
    found: dict[str, dict[str, ExpiredTag]] = {}
    for rule in policy.rules:
        if rule.action is not Action.EXPIRE_TAGS:
            continue
        named = [
            (set_at, tag, image)
            for image in images.values()
            for tag, set_at in image.tags.items()
            if rule.selection.names(tag)
        ]
        named.sort(key=lambda entry: entry[:2], reverse=True)
        for rank, (_, tag, image) in enumerate(named, 1):
            claim = claim_tag(rule, image, tag, rank, now)
            if claim.is_marked and not find_pattern(tag, protected) and not _is_kept(tag, kept.get(image.digest, ())):
                expired = ExpiredTag(tag, rule.priority, claim.explain(now))
                found.setdefault(image.digest, {}).setdefault(tag, expired)
    return {digest: tuple(tags[name] for name in sorted(tags)) for digest, tags in found.items()}


def _is_kept(tag: str, claims: Sequence[Claim]) -> bool:
    return any(claim.rule.selection.names(tag) for claim in claims)

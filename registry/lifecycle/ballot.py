"""What the rules of a policy say of every image of one snapshot, and which images go because of it."""

from collections.abc import Mapping, Sequence

from registry.lifecycle.budget import assess_size
from registry.lifecycle.claims import Claim, assess
from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern
from registry.lifecycle.protection import find_protected
from registry.lifecycle.removal import Relations, Removals
from registry.lifecycle.rules import Action, CountType, Policy, Rule


class Ballot:
    """`images` by digest, the newest first.

    `fresh` are those that were pushed less than `grace` ms before `now` and never had a tag. `protected`: why the
    repository's settings keep it. `kept`: what rules that keep say. `claims`: the deciding rule's word. `spared`: the
    word of the first rule with a count of ours that selects the image and does not take it, for those that no rule
    decides about.
    """

    def __init__(
        self, policy: Policy, images: Mapping[str, Image], now: int, grace: int, patterns: Sequence[Pattern] = ()
    ) -> None:
        self.images = images
        self.now = now
        self.relations = Relations(images)
        self._newest_first = list(images.values())
        self.protected = find_protected(self._newest_first, patterns)
        self.kept: dict[str, list[Claim]] = {}
        self.claims: dict[str, Claim] = {}
        self.spared: dict[str, Claim] = {}
        for rule in policy.rules:
            if rule.action is Action.KEEP:
                self._keep(rule)
        self.fresh = {digest for digest, image in images.items() if image.is_newborn and now - image.shown_at < grace}
        self.unmovable = self.protected.keys() | self.kept.keys() | self.fresh
        self.removals = Removals(self.relations, self.unmovable)
        for rule in policy.rules:
            if rule.is_ordered:
                self._decide(rule)

    def _keep(self, rule: Rule) -> None:
        for image, claim in assess(rule, self._newest_first, self.now):
            if claim.is_marked:
                self.kept.setdefault(image.digest, []).append(claim)

    def _decide(self, rule: Rule) -> None:
        for image, claim in self._assess(rule):
            if image.digest in self.claims:
                continue
            if not claim.is_marked and not rule.shields:
                self.spared.setdefault(image.digest, claim)
                continue
            self.claims[image.digest] = claim
            if claim.is_marked and rule.action is Action.EXPIRE:
                self.removals.mark(image.digest)

    def _assess(self, rule: Rule) -> list[tuple[Image, Claim]]:
        if rule.count.kind is CountType.REPOSITORY_SIZE_MORE_THAN:
            return assess_size(rule, self.images, self.relations, self.removals, self.claims.keys())
        return list(assess(rule, self._newest_first, self.now))

"""Decides what becomes of every image of a repository: ECR's evaluation, with our own rules where they stand.

All rules look at one snapshot. The rule with the lowest number that selects an image decides about it, even if it
keeps it; a rule with a count of ours selects only what it takes. A rule that keeps wins over all others, and a tag
that the repository's settings protect over every rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from registry.lifecycle.ballot import Ballot
from registry.lifecycle.claims import show_span
from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern
from registry.lifecycle.removal import sort_by_removal
from registry.lifecycle.rules import Action, Policy
from registry.lifecycle.tags import find_expired_tags
from registry.lifecycle.verdicts import Outcome, Verdict

_SHORT = 19  # of a digest: sha256, the colon and twelve digits
_WITH_INDEX = ("index", "what nothing else names goes with it")


def select_expired(
    policy: Policy, images: Iterable[Image], now: int, *, grace: int = 0, protected: Sequence[Pattern] = ()
) -> list[Verdict]:
    """One verdict for each image: first those that go, in the order in which they can, then the others, oldest first.

    `now` is in Unix milliseconds and so is `grace`: what was pushed by digest less than that before `now` stays, for
    the index that will name it may be on its way. Tags like one of the `protected` stay, and their images. Raises
    ValueError for two images of one digest.
    """
    oldest_first = sorted(images, key=lambda image: image.removal_key)
    by_digest = {image.digest: image for image in reversed(oldest_first)}
    if len(by_digest) < len(oldest_first):
        raise ValueError("two images have the same digest")
    ballot = Ballot(policy, by_digest, now, grace, protected)
    acted = _list_transitions(ballot, _list_expired(ballot))
    order = sort_by_removal(acted, ballot.relations, by_digest)
    stay = [_stay(ballot, image) for image in oldest_first if image.digest not in acted]
    tags = find_expired_tags(policy, by_digest, ballot.kept, now, protected)
    return [
        replace(verdict, expired_tags=tags[verdict.image.digest])
        if verdict.outcome is not Outcome.EXPIRED and verdict.image.digest in tags
        else verdict
        for verdict in (*(acted[digest] for digest in order), *stay)
    ]


def _list_expired(ballot: Ballot) -> dict[str, Verdict]:
    """By digest, holders before what they hold."""
    expired: dict[str, Verdict] = {}
    for digest, cause in ballot.removals.gone.items():
        claim = ballot.claims.get(digest)
        if claim is not None and claim.is_marked and claim.rule.action is Action.EXPIRE:
            expired[digest] = Verdict(
                ballot.images[digest], Outcome.EXPIRED, claim.rule.priority, claim.explain(ballot.now)
            )
        else:
            expired[digest] = _follow(ballot.images[digest], expired[str(cause)])
    return expired


def _list_transitions(ballot: Ballot, expired: dict[str, Verdict]) -> dict[str, Verdict]:
    """With those that expire before them. An index in the archive is still there, and holds its children."""
    acted = dict(expired)
    queue = [
        digest
        for digest, claim in ballot.claims.items()
        if claim.is_marked
        and claim.rule.action is Action.TRANSITION
        and digest not in ballot.removals.gone
        and digest not in ballot.unmovable
        and ballot.removals.is_free(digest)
    ]
    for digest in queue:
        claim = ballot.claims[digest]
        acted[digest] = Verdict(
            ballot.images[digest],
            Outcome.TRANSITION,
            claim.rule.priority,
            f"{claim.explain(ballot.now)}, but there is no archive here: it stays as it is",
        )
    for subject in queue:  # grows while it is walked
        for digest in ballot.relations.referrers.get(subject, ()):
            if digest not in ballot.unmovable and ballot.removals.list_holders(digest) == [subject]:
                acted[digest] = _follow(ballot.images[digest], acted[subject])
                queue.append(digest)
    return acted


def _follow(image: Image, cause: Verdict) -> Verdict:
    """It has no mark of its own: it goes with its subject or its index."""
    goes = "expires" if cause.outcome is Outcome.EXPIRED else "moves to the archive"
    kind, why = ("subject", "a referrer goes with it") if cause.image.digest == image.subject else _WITH_INDEX
    reason = f"its {kind} {_short(cause.image.digest)} {goes} by rule {cause.rule}, and {why}"
    return Verdict(image, cause.outcome, cause.rule, reason, follows=cause.image.digest)


def _stay(ballot: Ballot, image: Image) -> Verdict:
    digest = image.digest
    if digest in ballot.protected:
        return Verdict(image, Outcome.KEPT, None, ballot.protected[digest])
    if digest in ballot.kept:
        claim = ballot.kept[digest][0]
        return Verdict(image, Outcome.KEPT, claim.rule.priority, claim.explain(ballot.now))
    found = ballot.claims.get(digest) or ballot.spared.get(digest)
    if found is None:
        return Verdict(image, Outcome.KEPT, None, "no rule selects it")
    priority, reason = found.rule.priority, found.explain(ballot.now)
    if not found.is_marked:
        return Verdict(image, Outcome.KEPT, priority, reason)
    if digest in ballot.fresh:
        age = show_span(ballot.now - image.shown_at)
        why = f"but a client was told of it only {age} ago, and an index that names it may be on its way"
        return Verdict(image, Outcome.KEPT, priority, f"{reason}, {why}")
    holder = ballot.removals.list_holders(digest)[0]
    is_subject = holder == image.subject
    why = f"but its subject {_short(holder)} stays" if is_subject else f"but index {_short(holder)} still contains it"
    return Verdict(image, Outcome.KEPT, priority, f"{reason}, {why}", held_by=holder)


def _short(digest: str) -> str:
    return digest[:_SHORT]

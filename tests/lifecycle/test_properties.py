"""What holds for every policy and every repository."""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from registry.lifecycle.images import Blob, Image
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.rules import Action, CountType, Policy
from registry.lifecycle.schema import PolicyInvalid
from registry.lifecycle.selection import select_expired
from registry.lifecycle.verdicts import Outcome, Verdict
from registry.oci.media_types import OCI_INDEX, OCI_MANIFEST
from tests.lifecycle.notation import NOW, ago, own_rule, rule_fields

DAYS = st.sampled_from([0, 0.5, 1, 2, 3, 5, 8, 13, 100, 120])
TAGS = ["v1", "v2", "w1", "latest", "pr-1", "pr-2"]
ECR_RULES = ["T0 v* C{}", "T0 w*,v* P{}", "T0 prefix:pr P{}", "U0 P{}", "U0 C{}", "ANY0 C{}", "ANY0 P{}",
             "ANY0 L{} transition", "T0 * P{} transition"]  # fmt: skip
PULL_REQUESTS = {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*", "v*"]}
OWN_RULES: list[tuple[dict[str, Any], str, dict[str, bool]]] = [
    ({"tagStatus": "any"}, "notPulledForDays", {}),
    ({"tagStatus": "any", "ignorePullsBy": ["scan"]}, "notPulledForDays", {}),
    ({"tagStatus": "any"}, "repositorySizeMoreThan", {}),
    ({"tagStatus": "tagged", "tagPatternAnyList": ["v*", "w*"]}, "repositorySizeMoreThan", {}),
    ({"tagStatus": "any"}, "newestImages", {"keep": True}),
    ({"tagStatus": "untagged"}, "pulledWithinDays", {"keep": True}),
    (PULL_REQUESTS, "pushedWithinDays", {"keep": True}),
    (PULL_REQUESTS, "tagCountMoreThan", {"expireTags": True}),
    (PULL_REQUESTS, "tagOlderThanDays", {"expireTags": True}),
    (PULL_REQUESTS, "notPulledForDays", {"expireTags": True}),
]


@st.composite
def repositories(draw: st.DrawFn) -> list[Image]:
    """Images with relations of every kind, circles included, which the engine must bear."""
    digests = [chr(ord("A") + place) for place in range(draw(st.integers(0, 9)))]
    owners = {tag: draw(st.sampled_from(digests)) for tag in TAGS if draw(st.booleans()) and digests}
    images = []
    for digest in digests:
        others = st.sampled_from([*digests, "elsewhere"])
        children = tuple(draw(st.lists(others, max_size=3, unique=True))) if draw(st.booleans()) else ()
        images.append(
            Image(
                digest=digest,
                media_type=OCI_INDEX if children else OCI_MANIFEST,
                pushed_at=ago(draw(DAYS)),
                tags={tag: ago(draw(DAYS)) for tag, owner in owners.items() if owner == digest},
                pulls={name: ago(draw(DAYS)) for name in draw(st.sets(st.sampled_from(["scan", "ci"])))},
                size=draw(st.integers(0, 9)),
                blobs=tuple(Blob(name, 5) for name in draw(st.sets(st.sampled_from("xyz")))),
                children=children,
                subject=draw(st.none() | others),
            )
        )
    return images


@st.composite
def rules(draw: st.DrawFn, *, is_ecr: bool) -> list[dict[str, Any]]:
    """Of a policy that may be refused."""
    found = []
    for priority in draw(st.permutations(range(1, draw(st.integers(1, 5)) + 1))):
        number = draw(st.integers(1, 9))
        if is_ecr or draw(st.booleans()):
            rule = rule_fields(draw(st.sampled_from(ECR_RULES)).format(number))
            found.append(rule | {"rulePriority": priority})
        else:
            selection, count, verb = draw(st.sampled_from(OWN_RULES))
            found.append(own_rule(priority, {**selection, count: number}, **verb))
    return found


def read(fields: list[dict[str, Any]], *, is_strict: bool = False) -> Policy:
    """Gives the example up if its rules contradict each other."""
    try:
        return parse_policy(json.dumps({"rules": fields}), is_strict=is_strict)
    except PolicyInvalid:
        assume(condition=False)
        raise


POLICIES = (rules(is_ecr=True) | rules(is_ecr=False)).map(read)
ECR_POLICIES = rules(is_ecr=True).map(lambda fields: read(fields, is_strict=True))


def gone(verdicts: Sequence[Verdict]) -> set[str]:
    """What pulls no longer find: images that expire, and the tags that go with them or alone."""
    images = {verdict.image.digest for verdict in verdicts if verdict.outcome is Outcome.EXPIRED}
    tags = {tag for verdict in verdicts if verdict.outcome is Outcome.EXPIRED for tag in verdict.image.tags}
    return images | tags | {tag.name for verdict in verdicts for tag in verdict.expired_tags}


@given(POLICIES, repositories(), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(policy: Policy, images: list[Image], chance: random.Random) -> None:
    """The same images in another order get the same verdicts, in the same order."""
    verdicts = select_expired(policy, images, NOW)
    shuffled = list(images)
    chance.shuffle(shuffled)
    assert select_expired(policy, shuffled, NOW) == verdicts


@given(POLICIES, repositories(), st.sampled_from([0, 1 << 30]))
def test_every_image_gets_one_verdict_and_a_reason(policy: Policy, images: list[Image], grace: int) -> None:
    """Whatever the policy; a rule that is named is one of the policy."""
    verdicts = select_expired(policy, images, NOW, grace=grace)
    assert sorted(verdict.image.digest for verdict in verdicts) == [image.digest for image in images]
    priorities = {rule.priority for rule in policy.rules}
    for verdict in verdicts:
        assert verdict.reason
        assert "\n" not in verdict.reason
        assert verdict.rule is None or verdict.rule in priorities
        assert verdict.outcome is Outcome.KEPT or verdict.rule is not None
        assert {tag.name for tag in verdict.expired_tags} <= set(verdict.image.tags)


@given(repositories())
def test_no_rule_expires_nothing(images: list[Image]) -> None:
    """A policy without a rule cannot be written, and would do nothing."""
    verdicts = select_expired(Policy(()), images, NOW)
    assert {(verdict.outcome, verdict.rule, verdict.reason) for verdict in verdicts} <= {
        (Outcome.KEPT, None, "no rule selects it")
    }
    assert gone(verdicts) == set()


@given(POLICIES, repositories())
def test_what_no_rule_selects_stays(policy: Policy, images: list[Image]) -> None:
    """Only a referrer goes without being selected, and then with its subject."""
    for verdict in select_expired(policy, images, NOW):
        if verdict.outcome is not Outcome.KEPT and verdict.follows is None:
            assert any(rule.is_ordered and rule.selection.selects(verdict.image) for rule in policy.rules)


@given(rules(is_ecr=True) | rules(is_ecr=False), repositories(), st.data())
def test_raising_a_count_never_expires_more(
    fields: list[dict[str, Any]], images: list[Image], data: st.DataObject
) -> None:
    """Of any rule, unless the policy limits bytes: what one rule leaves there, the limit may take elsewhere."""
    policy = read(fields)
    sizes = [rule for rule in policy.rules if rule.count.kind is CountType.REPOSITORY_SIZE_MORE_THAN]
    assume(len(sizes) <= 1)
    raised = data.draw(st.sampled_from(sizes or list(policy.rules)))
    count = replace(raised.count, number=raised.count.number + data.draw(st.integers(1, 5)))
    higher = Policy(
        tuple(
            replace(rule, selection=replace(rule.selection, count=count)) if rule is raised else rule
            for rule in policy.rules
        )
    )
    assert gone(select_expired(higher, images, NOW)) <= gone(select_expired(policy, images, NOW))


@given(ECR_POLICIES, repositories())
def test_lower_rules_leave_alone_what_higher_ones_select(policy: Policy, images: list[Image]) -> None:
    """The rule that takes an image is the first that selects it, but for referrers, which go with their subject."""
    for verdict in select_expired(policy, images, NOW):
        if verdict.follows is None:
            selecting = [rule.priority for rule in policy.rules if rule.selection.selects(verdict.image)]
            assert verdict.rule == (selecting[0] if selecting else None)


@given(POLICIES, repositories())
def test_rules_that_keep_always_win(policy: Policy, images: list[Image]) -> None:
    """What they keep when they are alone, they keep in the whole policy, and the tags that they name."""
    keeping = Policy(tuple(rule for rule in policy.rules if rule.action is Action.KEEP))
    kept = {verdict.image.digest: verdict.reason for verdict in select_expired(keeping, images, NOW) if verdict.rule}
    winners = {
        verdict.image.digest: verdict
        for verdict in select_expired(policy, images, NOW)
        if kept.get(verdict.image.digest) == verdict.reason
    }
    assert winners.keys() == kept.keys()
    for verdict in winners.values():
        rule = next(rule for rule in keeping.rules if rule.priority == verdict.rule)
        assert verdict.outcome is Outcome.KEPT
        assert not any(rule.selection.names(tag.name) for tag in verdict.expired_tags)


@given(POLICIES, repositories())
def test_nothing_goes_before_what_holds_it(policy: Policy, images: list[Image]) -> None:
    """In the order of the verdicts an index goes before its children, and a referrer never without its subject."""
    verdicts = select_expired(policy, images, NOW)
    there = {image.digest for image in images}
    for verdict in verdicts:
        if verdict.outcome is not Outcome.EXPIRED:
            break
        there.remove(verdict.image.digest)
        for image in images:
            if image.digest in there and image.digest != verdict.image.digest:
                assert verdict.image.digest not in image.children
        subject = verdict.image.subject
        assert verdict.image.tags or subject not in there or subject == verdict.image.digest


@given(POLICIES, repositories())
def test_running_again_at_once_finds_nothing(policy: Policy, images: list[Image]) -> None:
    """With ages alone; a count that includes what is gone has the next run look further."""
    ages = {CountType.SINCE_IMAGE_PUSHED, CountType.NOT_PULLED_FOR_DAYS}
    aging = Policy(tuple(rule for rule in policy.rules if rule.count.kind in ages and rule.is_ordered))
    first = gone(select_expired(aging, images, NOW))
    assert gone(select_expired(aging, [image for image in images if image.digest not in first], NOW)) == set()


def repository_of(size: int, shape: str) -> list[Image]:
    """Every fourth image an index of the next two and the subject of the third; or a chain; or one index of all."""
    images = []
    for number in range(size):
        children: Sequence[int] = ()
        subject = None
        if shape == "releases":
            children = range(number + 1, number + 3) if number % 4 == 0 else ()
            subject = number - 3 if number % 4 == 3 else None
        elif shape == "chain":
            subject = number - 1
        elif number == 0:
            children = range(1, size)
        images.append(
            Image(
                digest=f"sha256:{number:064x}",
                media_type=OCI_INDEX if children else OCI_MANIFEST,
                pushed_at=NOW - number * 60_000,
                tags={f"v{number}": NOW - number * 60_000} if number % 4 == 0 and shape == "releases" else {},
                size=1000,
                children=tuple(f"sha256:{child:064x}" for child in children),
                subject=None if subject is None else f"sha256:{subject:064x}",
            )
        )
    return images


def count_calls(policy: Policy, images: list[Image]) -> int:
    """Calls of Python functions while the policy is evaluated: a measure of work that no busy machine changes."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        select_expired(policy, images, NOW)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("shape", ["releases", "chain", "star"])
def test_work_grows_with_the_repository(shape: str) -> None:
    """Eight times the images are about eight times the work, under rules of every kind at once."""
    fields = [
        own_rule(1, {"tagStatus": "any", "newestImages": 10}, keep=True),
        own_rule(2, {"tagStatus": "any", "notPulledForDays": 1}),
        own_rule(3, {"tagStatus": "any", "repositorySizeMoreThan": 100_000}),
        rule_fields("T4 v* C30"),
        own_rule(5, {**PULL_REQUESTS, "tagCountMoreThan": 9}, expireTags=True),
        rule_fields("U6 P1"),
    ]
    policy = read(fields)
    small, large = (count_calls(policy, repository_of(size, shape)) for size in (500, 4000))
    assert large < small * 8 * 1.1

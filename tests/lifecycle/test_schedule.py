"""When a policy is looked at again: never later than time alone can change what it says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.lifecycle.claims import DAY
from registry.lifecycle.images import Image
from registry.lifecycle.rules import Policy
from registry.lifecycle.schedule import find_next_due
from registry.lifecycle.selection import select_expired
from tests.lifecycle.notation import NOW, ago, own_policy, own_rule, read_images
from tests.lifecycle.test_properties import POLICIES, repositories

HOUR = 3_600_000
UNTAGGED = "U1 P3"


def decide(policy: Policy, images: list[Image], now: int, grace: int) -> list[tuple[Any, ...]]:
    """What is done to each image, by which rule, and what is done to its tags."""
    verdicts = select_expired(policy, images, now, grace=grace)
    return sorted(
        (verdict.image.digest, verdict.outcome, verdict.rule or 0, [tag.name for tag in verdict.expired_tags])
        for verdict in verdicts
    )


@given(POLICIES, repositories(), st.sampled_from([0, HOUR]), st.data())
def test_never_late(policy: Policy, images: list[Image], grace: int, data: st.DataObject) -> None:
    """At any instant before the next one nothing is decided otherwise, and without a next one never again."""
    due = find_next_due(policy, images, NOW, grace=grace)
    assert due is None or due > NOW
    end = NOW + 400 * DAY if due is None else due - 1
    later = data.draw(st.integers(NOW, end) | st.just(end))
    assert decide(policy, images, later, grace) == decide(policy, images, NOW, grace)


@given(POLICIES, repositories(), st.integers(0, 20 * DAY))
def test_comes_to_an_end(policy: Policy, images: list[Image], start: int) -> None:
    """Who looks at each instant it names sees each rule turn once for each image or tag at most, and then None."""
    now, turns = NOW - start, 0
    while (due := find_next_due(policy, images, now, grace=HOUR)) is not None:
        assert due > now
        now, turns = due, turns + 1
        assert turns <= (len(policy.rules) + 1) * (len(images) + 10)


@pytest.mark.parametrize(
    ("policy", "images", "expected"),
    [
        (own_policy("T1 * C3"), "A[v1]3 B[v2]2", None),
        (own_policy(UNTAGGED), "A[v1]3", None),
        (own_policy(UNTAGGED), "", None),
        (own_policy(UNTAGGED), "A[]5", None),
        (own_policy(UNTAGGED), "A[]1 B[]2", ago(-1) + 1),
        (own_policy(UNTAGGED), "A[]3", NOW + 1),
        (own_policy(own_rule(1, {"tagStatus": "any", "repositorySizeMoreThan": 9})), "A[]3", None),
        (own_policy(own_rule(1, {"tagStatus": "any"}, keep=True)), "A[]3", None),
        (own_policy(own_rule(1, {"tagStatus": "any", "notPulledForDays": 9})), "A[]8:pulled=5", ago(-4) + 1),
        (own_policy(own_rule(1, {"tagStatus": "any", "pulledWithinDays": 9}, keep=True)), "A[]8", None),
        (own_policy(own_rule(1, {"tagStatus": "any", "pulledWithinDays": 9}, keep=True)), "A[]8:pulled=2", ago(-7) + 1),
        (
            own_policy(
                own_rule(
                    1,
                    {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*"], "tagOlderThanDays": 5},
                    expireTags=True,
                )
            ),
            "A[v1,pr-1]3 B[v2]4",
            ago(-2) + 1,
        ),
    ],
)
def test_next_instants(policy: Policy, images: str, expected: int | None) -> None:
    """Ages count a millisecond past their last day; counts, bytes and what is over already have no next instant."""
    assert find_next_due(policy, read_images(images), NOW) == expected


def test_end_of_the_grace_is_an_instant() -> None:
    """What was pushed moments ago is looked at again when it is no longer fresh, whatever the policy counts."""
    images = read_images("A[]0.01 B[]0.02 C[v]0.03")
    assert find_next_due(own_policy("T1 * C1"), images, NOW, grace=HOUR) == ago(0.02) + HOUR

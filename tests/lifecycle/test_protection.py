"""Tags that a repository's settings protect: before all rules, for images and for tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern
from registry.lifecycle.rules import Policy
from registry.lifecycle.selection import select_expired
from registry.lifecycle.verdicts import Outcome
from tests.lifecycle.notation import NOW, own_policy, own_rule, read_images, show_acted, show_held
from tests.lifecycle.test_properties import POLICIES, repositories

PATTERNS = st.lists(st.sampled_from(["v*", "latest", "*1", "nothing"]).map(Pattern.parse), max_size=2)
SOME_TAGS = {"tagStatus": "tagged", "tagPatternAnyList": ["v*", "pr-*"]}
TAGS_ALONE = own_rule(1, SOME_TAGS | {"tagCountMoreThan": 1}, expireTags=True)


@given(POLICIES, repositories(), PATTERNS)
def test_protected_tags_stay(policy: Policy, images: list[Image], patterns: list[Pattern]) -> None:
    """No rule takes such a tag, or an image that has one, and the reason names the setting."""
    for verdict in select_expired(policy, images, NOW, protected=patterns):
        protected = {tag for tag in verdict.image.tags if any(pattern.is_match(tag) for pattern in patterns)}
        assert not protected & {tag.name for tag in verdict.expired_tags}
        if protected:
            assert (verdict.outcome, verdict.rule) == (Outcome.KEPT, None)
            assert verdict.reason.startswith("the repository's setting protect=")


@given(POLICIES, repositories())
def test_no_pattern_protects_nothing(policy: Policy, images: list[Image]) -> None:
    """Without the setting the verdicts are those of the policy."""
    assert select_expired(policy, images, NOW, protected=[]) == select_expired(policy, images, NOW)


@pytest.mark.parametrize(
    ("images", "acted", "held"),
    [
        ("A[v1]9 B[v2]8 C[v3]7", "B@1 C@1", ""),
        ("A[v2,v1]9", "", ""),
        ("a[]9 X[v1]8>a s[]7^X", "", "a<X s<X"),
        ("X[v1]8 Y[v2]8", "Y@1", ""),
    ],
)
def test_what_a_protected_image_holds_stays(images: str, acted: str, held: str) -> None:
    """Children and referrers of a protected image stay with it; its other tags do not protect others."""
    policy = own_policy("ANY1 P3")
    verdicts = select_expired(policy, read_images(images), NOW, protected=[Pattern.parse("*1")])
    assert show_acted(verdicts) == acted
    assert show_held(verdicts) == held


def test_reason_names_pattern_and_tag() -> None:
    """Whoever reads it knows which setting to change."""
    (verdict,) = select_expired(
        own_policy("ANY1 P3"), read_images("A[prod-1,x]9"), NOW, protected=[Pattern.parse("y"), Pattern.parse("prod-*")]
    )
    assert verdict.reason == "the repository's setting protect=prod-* keeps its tag prod-1"


def test_other_tags_of_a_protected_image_can_go() -> None:
    """A rule about tags takes what is not protected, also from an image that stays for another tag."""
    verdicts = select_expired(
        own_policy(TAGS_ALONE), read_images("A[v1,pr-1]9 B[v2]8"), NOW, protected=[Pattern.parse("v*")]
    )
    assert {tag.name for verdict in verdicts for tag in verdict.expired_tags} == {"pr-1"}

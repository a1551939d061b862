"""Our own keys: what they do, what they never do, and that a tool that drops them leaves nothing legal."""

import json
from dataclasses import replace
from typing import Any

import pytest

from registry.lifecycle.images import Blob, Image
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.schema import PolicyInvalid
from tests.lifecycle.notation import (
    ago,
    decide,
    own_policy,
    own_rule,
    read_image,
    read_images,
    rule_fields,
    show_acted,
    show_held,
)

ANY: dict[str, Any] = {"tagStatus": "any"}
UNUSED = {**ANY, "notPulledForDays": 30}
PULL_REQUESTS = {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*"]}


def acted(images: str | list[Image], *rules: dict[str, Any] | str) -> str:
    found = read_images(images) if isinstance(images, str) else images
    return show_acted(decide(own_policy(*rules), found).values())


def tags_taken(images: list[Image], *rules: dict[str, Any] | str) -> str:
    verdicts = decide(own_policy(*rules), images)
    return " ".join(
        f"{digest}:{tag.name}@{tag.rule}" for digest, verdict in verdicts.items() for tag in verdict.expired_tags
    )


def test_unused_images_expire() -> None:
    """What nobody pulled for longer goes; a push counts as use, also one after the last pull."""
    images = "A[a]100:pulled=40 B[b]100:pulled=30 C[c]100 D[d]20 E[e]20:pulled=50 F[]90"
    assert acted(images, own_rule(1, UNUSED)) == "A@1 C@1 F@1"


def test_pulls_of_named_identities_do_not_count() -> None:
    """A scanner that pulls everything every night keeps nothing alive."""
    image = replace(read_image("A[a]100"), pulls={"scan-1": ago(1), "trivy": ago(2), "deploy": ago(40)})
    assert acted([image], own_rule(1, UNUSED)) == ""
    assert acted([image], own_rule(1, {**UNUSED, "ignorePullsBy": ["scan-*"]})) == ""
    assert acted([image], own_rule(1, {**UNUSED, "ignorePullsBy": ["scan-*", "trivy"]})) == "A@1"
    used = replace(image, pulls={**image.pulls, "deploy": ago(3)})
    assert acted([used], own_rule(1, {**UNUSED, "ignorePullsBy": ["scan-*", "trivy"]})) == ""


def test_one_pattern_of_several_is_enough() -> None:
    """With ECR's own counts too, and these shield as they do in ECR."""
    either = {"tagStatus": "tagged", "tagPatternAnyList": ["main", "release-*"]}
    count = {"countType": "imageCountMoreThan", "countNumber": 1}
    images = "A[main]9 B[release-1]8 C[release-2,main]7 D[x]6"
    assert acted(images, own_rule(1, either | count)) == "A@1 B@1"
    assert acted(images, own_rule(1, either | count), "ANY2 P1") == "A@1 B@1 D@2"


def test_own_counts_leave_to_others_what_they_do_not_take() -> None:
    """A rule with a count of ours shields only what it takes, so that such rules add up."""
    images = "A[a]100 B[b]10:pulled=1 C[]10"
    assert acted(images, own_rule(1, UNUSED), "U2 P7", "ANY3 C2") == "A@1 C@2"
    assert acted(images, "U1 P7", own_rule(2, UNUSED), own_rule(3, {**UNUSED, "notPulledForDays": 5})) == "A@2 C@1"


def test_ecr_rules_shield_from_ours() -> None:
    """What a rule of ECR's selects, a lower one of ours leaves alone."""
    assert acted("A[a]100 B[b]100", "T1 a C1", own_rule(2, UNUSED)) == "B@2"


@pytest.mark.parametrize("selection", [ANY, {"tagStatus": "tagged", "tagPatternAnyList": ["x", "v*"]}])
@pytest.mark.parametrize("priority", [1, 99])
def test_keeping_wins(selection: dict[str, Any], priority: int) -> None:
    """Whatever its priority."""
    keep = own_rule(priority, selection, keep=True)
    assert acted("A[v1]100 B[v2]90", keep, "T2 v* C1", own_rule(3, UNUSED)) == ""


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        ({}, {"A", "B", "C"}),
        ({"newestImages": 1}, {"C"}),
        ({"pushedWithinDays": 85}, {"C"}),
        ({"pushedWithinDays": 90}, {"B", "C"}),
        ({"pulledWithinDays": 7}, {"A"}),
        ({"pulledWithinDays": 7, "ignorePullsBy": ["someone"]}, set()),
    ],
)
def test_keeping_by_count(count: dict[str, Any], kept: set[str]) -> None:
    """A rule that keeps can be limited to the newest, or to those that were pushed or pulled lately."""
    verdicts = decide(
        own_policy(own_rule(9, ANY | count, keep=True), "ANY1 P1"),
        read_images("A[a]100:pulled=3 B[b]90 C[c]80"),
    )
    assert {digest for digest, verdict in verdicts.items() if verdict.rule == 9} == kept
    assert show_acted(verdicts.values()) == " ".join(f"{digest}@1" for digest in "ABC" if digest not in kept)


def test_what_is_kept_keeps_what_it_needs() -> None:
    """Children of an index that is kept stay, and so do its referrers; a referrer that is kept stays alone."""
    images = read_images("X[v1]100>a,b a[]101 b[]102 s[]99^X Y[old]100 t[]99^Y")
    verdicts = decide(
        own_policy(
            own_rule(8, {"tagStatus": "tagged", "tagPatternAnyList": ["v*"]}, keep=True),
            own_rule(9, {"tagStatus": "untagged", "newestImages": 1}, keep=True),
            "ANY1 P1",
        ),
        images,
    )
    assert show_acted(verdicts.values()) == "Y@1"
    assert show_held(verdicts.values()) == "a<X b<X s<X"
    assert verdicts["t"].rule == 9


def sized(text: str, size: int = 10, *blobs: str) -> Image:
    return replace(read_image(text), size=size, blobs=tuple(Blob(blob, 100) for blob in blobs))


def by_size(number: int, **selection: Any) -> dict[str, Any]:
    return own_rule(5, {"tagStatus": "any", "repositorySizeMoreThan": number} | selection)


@pytest.mark.parametrize(
    ("number", "expected"), [(30, ""), (29, "A@5"), (20, "A@5"), (19, "A@5 C@5"), (10, "A@5 C@5"), (1, "A@5 B@5 C@5")]
)
def test_what_was_used_longest_ago_goes_first(number: int, expected: str) -> None:
    """Until the rest fits; removal itself goes oldest first, as ECR's."""
    images = [sized("A[a]30"), sized("B[b]20:pulled=1"), sized("C[c]10")]
    assert acted(images, by_size(number)) == expected


def test_shared_blobs_count_once() -> None:
    """What several images share is there once, and frees nothing until the last of them goes."""
    images = [sized("A[a]30", 0, "x", "y"), sized("B[b]20", 0, "x", "x"), sized("C[c]10", 0, "z")]
    assert acted(images, by_size(300)) == ""
    assert acted(images, by_size(299)) == "A@5"
    assert acted(images, by_size(199)) == "A@5 B@5"


def test_size_is_of_the_whole_repository_after_higher_rules() -> None:
    """What other rules take is not counted, what is only not selected is."""
    images = [sized("A[a]30"), sized("B[b]20"), sized("C[]10"), sized("D[keep]40")]
    assert acted(images, "U1 P7", by_size(30)) == "C@1"
    tagged = {"tagStatus": "tagged", "tagPatternAnyList": ["a", "b"]}
    assert acted(images, by_size(15, **tagged)) == "A@5 B@5"
    assert acted(images, own_rule(9, {**tagged, "tagPatternAnyList": ["a"]}, keep=True), by_size(25)) == "D@5 B@5"


def test_an_index_goes_with_its_children() -> None:
    """It goes as a whole, whatever the rule selects: its children have the bytes, and are used when it is."""
    images = [
        sized("X[x]40>a:pulled=1"),
        sized("a[]41", 10, "one"),
        sized("Y[y]30>b:pulled=20"),
        sized("b[]31", 10, "two"),
        sized("s[]29^Y"),
    ]
    assert acted(images, by_size(120)) == "Y@5 s@5 b@5"
    assert show_held(decide(own_policy(by_size(120)), images).values()) == ""
    assert acted(images, by_size(239)) == "Y@5 s@5 b@5"
    tagged = {"tagStatus": "tagged", "tagPatternAnyList": ["*"]}
    verdicts = decide(own_policy(by_size(120, **tagged)), images)
    assert show_acted(verdicts.values()) == "Y@5 s@5 b@5"
    assert verdicts["b"].follows == "Y"
    assert verdicts["b"].reason == "its index Y expires by rule 5, and what nothing else names goes with it"
    assert acted(images, own_rule(9, {"tagStatus": "untagged"}, keep=True), by_size(239)) == "X@5 Y@5"
    shared = [*images, sized("Z[z]1>b")]
    assert acted(shared, by_size(239)) == "X@5 Y@5 s@5 a@5"


def test_what_an_index_holds_is_not_sought() -> None:
    """A child that the limit cannot take is not marked either: it stays when a lower rule takes its index."""
    images = [sized("X[x]40>a"), sized("a[]41")]
    assert acted(images, own_rule(5, {"tagStatus": "untagged", "repositorySizeMoreThan": 1}), "T6 x P7") == "X@6"


def test_what_does_not_go_with_its_index() -> None:
    """A child with a tag is an image like others, and a higher rule shields what it selects."""
    tagged = by_size(1, tagStatus="tagged", tagPatternAnyList=["x"])
    assert acted([sized("X[x]40>c"), sized("c[arm]41")], tagged) == "X@5"
    assert acted([sized("X[x]40>c:pulled=1"), sized("c[arm]41")], by_size(1)) == "X@5 c@5"
    assert acted([sized("X[x]40>a"), sized("a[]41")], tagged) == "X@5 a@5"
    assert acted([sized("X[x]40>a"), sized("a[]41")], "U1 P99", tagged) == "X@5"


def test_what_is_kept_is_not_shown_as_archived() -> None:
    """Neither by a rule nor with its subject."""
    images = "X[x]40 s[]39^X"
    assert acted(images, own_rule(2, ANY, keep=True), "ANY1 P7 transition") == ""
    untagged = own_rule(2, {"tagStatus": "untagged"}, keep=True)
    assert acted(images, untagged, "ANY1 P7 transition") == "X@1:transition"


def dated(text: str, **tags: float) -> Image:
    """The tags were set so many days ago."""
    return replace(read_image(text), tags={name.replace("_", "-"): ago(days) for name, days in tags.items()})


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        ({"tagOlderThanDays": 7}, "A:pr-1@1 B:pr-2@1"),
        ({"tagOlderThanDays": 8}, "A:pr-1@1"),
        ({"tagCountMoreThan": 1}, "A:pr-1@1 B:pr-2@1"),
        ({"tagCountMoreThan": 2}, "A:pr-1@1"),
        ({"notPulledForDays": 5}, "A:pr-1@1"),
        ({"notPulledForDays": 5, "ignorePullsBy": ["some*"]}, "A:pr-1@1 B:pr-2@1"),
    ],
)
def test_tags_expire(count: dict[str, Any], expected: str) -> None:
    """A tag goes by its own age; its image stays, with its other tags or with none."""
    images = [
        dated("A[]99", pr_1=9, main=9),
        dated("B[]98:pulled=2", pr_2=8),
        dated("C[]97", pr_3=1),
    ]
    rule = own_rule(1, PULL_REQUESTS | count, expireTags=True)
    assert tags_taken(images, rule) == expected
    assert acted(images, rule) == ""


def test_tag_of_what_is_kept() -> None:
    """A rule that keeps an image keeps the tags that it names, and no other."""
    images = [dated("A[]99", pr_1=9, v1=9), dated("B[]98", pr_2=9)]
    tags = own_rule(1, {**PULL_REQUESTS, "tagOlderThanDays": 7}, expireTags=True)
    releases = own_rule(2, {"tagStatus": "tagged", "tagPatternAnyList": ["v*"]}, keep=True)
    everything = own_rule(3, ANY, keep=True)
    assert tags_taken(images, tags, releases) == "A:pr-1@1 B:pr-2@1"
    assert tags_taken(images, tags, everything) == ""


def test_tag_of_what_expires() -> None:
    """An image that goes takes its tags along, so no rule about tags speaks of it."""
    images = [dated("A[]99", pr_1=9, v1=9), dated("B[]98", pr_2=9)]
    tags = own_rule(1, {**PULL_REQUESTS, "tagOlderThanDays": 7}, expireTags=True)
    again = own_rule(3, {**PULL_REQUESTS, "tagOlderThanDays": 5}, expireTags=True)
    assert acted(images, tags, "T2 v* P7") == "A@2"
    assert tags_taken(images, tags, "T2 v* P7", again) == "B:pr-2@1"


OWN_RULES = [
    own_rule(1, UNUSED),
    own_rule(1, {**UNUSED, "ignorePullsBy": ["scan*"]}),
    own_rule(1, {"tagStatus": "untagged", "repositorySizeMoreThan": 1 << 40}),
    own_rule(1, {**PULL_REQUESTS, "countType": "imageCountMoreThan", "countNumber": 3}),
    own_rule(1, ANY, keep=True),
    own_rule(1, {**ANY, "newestImages": 3}, keep=True),
    own_rule(1, {**PULL_REQUESTS, "tagOlderThanDays": 3}, expireTags=True),
    own_rule(1, {"tagStatus": "tagged", "tagPatternList": ["v*"], "pushedWithinDays": 3}, keep=True),
]
KEYS = {
    "keep", "expireTags", "tagPatternAnyList", "ignorePullsBy", "notPulledForDays", "repositorySizeMoreThan",
    "tagCountMoreThan", "tagOlderThanDays", "newestImages", "pulledWithinDays", "pushedWithinDays",
}  # fmt: skip


@pytest.mark.parametrize("rule", OWN_RULES)
def test_own_keys_can_be_switched_off(rule: dict[str, Any]) -> None:
    """Then the policy is refused as ECR refuses it; and a tool that drops unknown keys makes nothing legal of it."""
    own_policy(rule)
    with pytest.raises(PolicyInvalid, match="rule 1: object instance has properties which are not allowed by"):
        parse_policy(json.dumps({"rules": [rule]}), is_strict=True)
    left = {name: value for name, value in rule.items() if name not in KEYS}
    left["selection"] = {name: value for name, value in rule["selection"].items() if name not in KEYS}
    with pytest.raises(PolicyInvalid, match="rule 1: "):
        own_policy(left)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (rule_fields("U1 P7") | {"keep": True}, "a rule has one of action, keep and expireTags"),
        (own_rule(1, ANY, keep=True, expireTags=True), "a rule has one of action, keep and expireTags"),
        (own_rule(1, ANY, keep=False), "keep is true, or not there at all"),
        ({"rulePriority": 1, "selection": ANY, "keep": 1}, "keep is true, or not there at all"),
        (own_rule(1, {**UNUSED, "countNumber": 7}), "notPulledForDays stands in place of countNumber"),
        (own_rule(1, {**UNUSED, "storageClass": "standard"}), "notPulledForDays stands in place of storageClass"),
        (own_rule(1, rule_fields("U1 C7")["selection"], keep=True), "keep stands in place of countType, countNumber"),
        (
            own_rule(1, {**UNUSED, "repositorySizeMoreThan": 7}),
            "a rule that does expire has one of notPulledForDays, repositorySizeMoreThan, not notPulledForDays, repo",
        ),
        (own_rule(1, UNUSED, keep=True), "a rule that does keep has one of newestImages, pulledWithinDays, pushedW"),
        (own_rule(1, PULL_REQUESTS, expireTags=True), "a rule that does expireTags has one of tagCountMoreThan, tag"),
        (
            {**rule_fields("U1 P7 transition"), "selection": UNUSED},
            "a rule that does transition has no count of ours, not notPulledForDays",
        ),
        (
            own_rule(1, {**ANY, "tagOlderThanDays": 7}, expireTags=True),
            "a rule that does expireTags has tagStatus tagged and tagPatternAnyList",
        ),
        (
            own_rule(1, {"tagStatus": "tagged", "tagPatternList": ["v"], "tagOlderThanDays": 7}, expireTags=True),
            "a rule that does expireTags has tagStatus tagged and tagPatternAnyList",
        ),
        (own_rule(1, {**UNUSED, "notPulledForDays": 0}), "numeric instance is lower than the required minimum"),
        (own_rule(1, {**ANY, "repositorySizeMoreThan": 1 << 63}), "numeric instance is greater than the required"),
        (own_rule(1, {**UNUSED, "ignorePullsBy": "x"}), "instance type (string) does not match any allowed primitive"),
        (own_rule(1, {**UNUSED, "ignorePullsBy": ["*" * 9]}), "ignorePullsBy names identities: a pattern is text with"),
        (
            own_rule(1, {**ANY, "newestImages": 7, "ignorePullsBy": ["x"]}, keep=True),
            "ignorePullsBy goes with one of notPulledForDays, repositorySizeMoreThan, pulledWithinDays",
        ),
        (
            own_rule(1, {**UNUSED, "tagStatus": "tagged", "tagPatternAnyList": ["v"], "tagPatternList": ["v"]}),
            "a rule has one of tagPatternList, tagPatternAnyList",
        ),
        (own_rule(1, {**UNUSED, "tagPatternAnyList": ["v"]}), "Cannot specify tagPatternAnyList with tagStatus any"),
        (own_rule(1, {**UNUSED, "tagStatus": "tagged", "tagPatternAnyList": [""]}), 'string "" is too short'),
    ],
)
def test_own_keys_are_checked(rule: dict[str, Any], message: str) -> None:
    """What makes no sense is refused, naming the rule."""
    with pytest.raises(PolicyInvalid) as caught:
        own_policy(rule)
    assert str(caught.value).startswith(f"rule 1: {message}")


def test_our_rules_stand_before_a_rule_that_shields_everything() -> None:
    """After ECR's rule for any they would never act; rules that keep or take tags may stand anywhere."""
    with pytest.raises(PolicyInvalid, match="rule 1: Rule for tagStatus=ANY must have the lowest priority"):
        own_policy("ANY1 P7", own_rule(2, UNUSED))
    tags = own_rule(3, {**PULL_REQUESTS, "tagOlderThanDays": 3}, expireTags=True)
    policy = own_policy("ANY1 P7", own_rule(2, ANY, keep=True), tags)
    assert not policy.has_size
    assert own_policy(by_size(1), own_rule(6, UNUSED), "ANY7 C1").has_size

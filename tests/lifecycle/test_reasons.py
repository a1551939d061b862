"""Every verdict says in one sentence why: the rule, what it takes, and what of the image it measured."""

from dataclasses import replace

import pytest

from registry.lifecycle.claims import DAY, show_bytes, show_span
from tests.lifecycle.notation import ago, decide, own_policy, own_rule, read_image, read_images, read_policy


@pytest.mark.parametrize(
    ("images", "policy", "reason"),
    [
        ("A[v1]3", "T1 w* C1", "no rule selects it"),
        (
            "A[v1]3 B[v2]2",
            "T1 v* C1",
            "rule 1 expires all but the newest 1 of the images with a tag like v*, and this is number 2",
        ),
        (
            "A[v1]3",
            "T1 v* C9",
            "rule 1 expires all but the newest 9 of the images with a tag like v*, and this is number 1",
        ),
        (
            "A[]3.5",
            "U2 P1",
            "rule 2 expires images without a tag pushed more than 1 day ago, and this was pushed 3 days 12 hours ago",
        ),
        (
            "A[a1,b1,c1]3:restored=0.5",
            "T1 a*,b*,prefix,c P2",
            "no rule selects it",
        ),
        (
            "A[a1,b1]3:restored=0.5",
            "T1 prefix:a,b P2",
            (
                "rule 1 expires images with a tag for each of a*, b* pushed more than 2 days ago, "
                "and this was restored 12 hours ago"
            ),
        ),
        (
            "A[abcd]3",
            "T1 a*,*b*,*c*,*d P2",
            (
                "rule 1 expires images with a tag for each of a*, *b*, *c* and 1 more pushed more than 2 days ago, "
                "and this was pushed 3 days ago"
            ),
        ),
        (
            "A[]300:archived=100",
            "ANY1 A90",
            "rule 1 expires images archived more than 90 days ago, and this was archived 100 days ago",
        ),
        (
            "A[]300:pulled=100",
            "ANY1 L90 transition",
            (
                "rule 1 archives images not pulled for more than 90 days, and this was pulled 100 days ago, "
                "but there is no archive here: it stays as it is"
            ),
        ),
        (
            "A[]30 X[v]9>A",
            "U1 P7",
            (
                "rule 1 expires images without a tag pushed more than 7 days ago, and this was pushed 30 days ago, "
                "but index X still contains it"
            ),
        ),
        (
            "A[]30^X X[v]9",
            "U1 P7",
            (
                "rule 1 expires images without a tag pushed more than 7 days ago, and this was pushed 30 days ago, "
                "but its subject X stays"
            ),
        ),
        ("A[]3^X X[v]9", "T1 v P7", "its subject X expires by rule 1, and a referrer goes with it"),
        (
            "A[]3^X X[v]9",
            "T1 v P7 transition",
            "its subject X moves to the archive by rule 1, and a referrer goes with it",
        ),
    ],
)
def test_reason(images: str, policy: str, reason: str) -> None:
    """Of the image A."""
    assert decide(read_policy(policy), read_images(images))["A"].reason == reason


@pytest.mark.parametrize(
    ("selection", "verb", "reason"),
    [
        ({"tagStatus": "any"}, {"keep": True}, "rule 1 keeps all images"),
        (
            {"tagStatus": "tagged", "tagPatternAnyList": ["v*", "w*"], "newestImages": 2},
            {"keep": True},
            "rule 1 keeps the newest 2 of the images with a tag like any of v*, w*, and this is number 1",
        ),
        (
            {"tagStatus": "any", "pulledWithinDays": 7},
            {"keep": True},
            "rule 1 keeps images pulled within 7 days, and this was pulled 2 days ago",
        ),
        (
            {"tagStatus": "any", "notPulledForDays": 1},
            {},
            "rule 1 expires images not pulled for more than 1 day, and this was pulled 2 days ago",
        ),
        (
            {"tagStatus": "any", "notPulledForDays": 30},
            {},
            "rule 1 expires images not pulled for more than 30 days, and this was pulled 2 days ago",
        ),
        (
            {"tagStatus": "any", "notPulledForDays": 30, "ignorePullsBy": ["someone"]},
            {},
            "rule 1 expires images not pulled for more than 30 days, and this was pushed 9 days ago",
        ),
        (
            {"tagStatus": "any", "repositorySizeMoreThan": 3 << 29},
            {},
            (
                "rule 1 expires the images unused for longest until the repository has at most 1.5 GiB, "
                "and this was pulled 2 days ago"
            ),
        ),
    ],
)
def test_reason_of_our_rules(selection: dict[str, object], verb: dict[str, bool], reason: str) -> None:
    """Of an image that was pushed 9 days ago and pulled 2 days ago."""
    verdicts = decide(own_policy(own_rule(1, selection, **verb)), read_images("A[v1]9:pulled=2"))
    assert (verdicts["A"].rule, verdicts["A"].reason) == (1, reason)


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        ({"tagCountMoreThan": 1}, "rule 1 removes all but the newest 1 of the tags like pr-*, and this is number 2"),
        (
            {"tagOlderThanDays": 7},
            "rule 1 removes tags like pr-* set more than 7 days ago, and this was set 9 days ago",
        ),
        (
            {"notPulledForDays": 7},
            "rule 1 removes tags like pr-* not pulled for more than 7 days, and this was set 9 days ago",
        ),
    ],
)
def test_reason_of_a_tag(count: dict[str, int], reason: str) -> None:
    """Of a tag of 9 days, beside a newer one."""
    selection = {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*"], **count}
    image = replace(read_image("A[]20"), tags={"pr-1": ago(9), "pr-2": ago(3)})
    (tag,) = decide(own_policy(own_rule(1, selection, expireTags=True)), [image])["A"].expired_tags
    assert (tag.name, tag.reason) == ("pr-1", reason)


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (0, "0 seconds"),
        (999, "0 seconds"),
        (-5, "0 seconds"),
        (1000, "1 second"),
        (61_000, "1 minute 1 second"),
        (14 * DAY + 8640, "14 days 8 seconds"),
        (400 * DAY + 90 * 60 * 1000 + 1000, "400 days 1 hour"),
    ],
)
def test_span(span: int, shown: str) -> None:
    """The two largest units that say something."""
    assert show_span(span) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1 << 62, "4 EiB")]
)
def test_bytes(size: int, shown: str) -> None:
    """In the largest unit that fits."""
    assert show_bytes(size) == shown

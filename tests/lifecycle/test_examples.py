"""The worked examples of ECR's lifecycle policies: 1 to 6 are AWS's own cases with their results."""

import pytest

from registry.lifecycle.selection import select_expired
from tests.lifecycle.notation import NOW, decide, read_images, read_policy, show_acted, show_held

RELEASES = "X[v2]1>a,b a[]1.01 b[]1.02 Y[v1]2>c,d c[]2.01 d[]2.02"
EXAMPLES = [
    pytest.param(
        "A[beta-1,prod-1]10 B[beta-2,prod-2]9 C[beta-3]8", "T1 prod* C1; T2 beta* C1", "A@1", "", id="1-shielded"
    ),
    pytest.param(
        "A[beta-1,prod-1]10 B[beta-2,prod-2]9 C[beta-3]8", "T1 beta* C1; T2 prod* C1", "A@1 B@1", "", id="2-reversed"
    ),
    pytest.param(
        "A[alpha-1]12 B[beta-1]11 C[alpha-2,beta-2]10 D[alpha-3]4 E[beta-3]3 F[alpha-4,beta-4]2",
        "T1 alpha*,beta* P5",
        "C@1",
        "",
        id="3-and-over-the-list",
    ),
    pytest.param(
        "A[alpha-1,beta-1,gamma-1]10 B[alpha-2,beta-2]9 C[alpha-3,beta-3,gamma-2]8",
        "T1 alpha*,beta* C1",
        "A@1 B@1",
        "",
        id="4-other-tags-do-not-matter",
    ),
    pytest.param("A[alpha-1]4 B[beta-1]3 C[]2 D[alpha-2]1", "ANY1 C1", "A@1 B@1 C@1", "", id="5-any-has-untagged"),
    pytest.param(
        "A[alpha-1,beta-1]4 B[]3 C[alpha-2]2 D[githash]1.001 E[]1",
        "T1 alpha* C1; U2 P1; ANY3 C1",
        "A@1 B@2 D@3",
        "",
        id="6-three-rules",
    ),
    pytest.param("A[v1]14.0 B[v2]14.0001", "T1 v* P14", "B@1", "", id="7-strictly-older"),
    pytest.param(
        "A[latest]100 B[main]90 C[latest,main]80 D[x]70",
        "T1 latest,main C1; ANY2 P60",
        "A@2 B@2 D@2",
        "",
        id="8-the-and-trap",
    ),
    pytest.param(
        "A[latest]100 B[main]90 D[x]70", "T1 latest C1; T2 main C1; ANY3 P60", "D@3", "", id="9-a-rule-per-pattern"
    ),
    pytest.param(
        "R1[v1]1 R2[v2]2 R3[v3]3 S1[sha-1]4 S2[sha-2]5 S3[sha-3]6",
        "T1 v* C9999; ANY2 C4",
        "S3@2 S2@2",
        "",
        id="10-shielded-ones-count",
    ),
    pytest.param(
        "A[v1]10 B[v2]40 C[v0]500:archived=400 D[v00]900:archived=100",
        "ANY1 P30 transition; ANY2 A365",
        "C@2 B@1:transition",
        "",
        id="11-any-per-storage-class",
    ),
    pytest.param(
        "A[a]200:pulled=10 B[b]200 C[c]40 D[d]300:pulled=250:restored=20 E[e]300:pulled=250:restored=120",
        "ANY1 L90 transition",
        "B@1:transition E@1:transition",
        "",
        id="12-since-pulled",
    ),
    pytest.param("A[v1]400:restored=2 B[v2]50 C[v3]40", "T1 v* C2", "B@1", "", id="13-restored-ranks-as-new"),
    pytest.param("X[v1]10>a,b a[]10.01 b[]10.02 o[]20", "U1 P7", "o@1", "a<X b<X", id="14-children-are-held"),
    pytest.param("X[v1]40>a,b a[]40.01 b[]40.02", "ANY1 P30", "X@1 b@1 a@1", "", id="15-index-before-children"),
    pytest.param("X[old]40>a Y[new]5>a a[]40.01", "ANY1 P30", "X@1", "a<Y", id="16-shared-child"),
    pytest.param(RELEASES, "ANY1 C3", "Y@1 d@1 c@1", "", id="17-children-count"),
    pytest.param(RELEASES, "ANY1 C4", "", "c<Y d<Y", id="18-count-cuts-a-release"),
    pytest.param("X[v1]40>a a[]40.01", "T1 v* P30", "X@1", "", id="19-no-cascade"),
    pytest.param("X[v1]40 s[]39^X", "T1 v* P30", "X@1 s@1", "", id="20-referrer-follows"),
    pytest.param("X[v1]40 s[sha256-abc.sig]39", "T1 v* P30", "X@1", "", id="21-signature-by-tag-stays"),
    pytest.param("A[dev-1]1000", "T1 v* C1; U2 P1", "", "", id="22-nobody-selects-it"),
    pytest.param(
        "A[Prod-1]50 B[my-prod]50 C[prod]50 D[prod-9]50", "T1 prod* P1", "C@1 D@1", "", id="23-case-and-anchors"
    ),
    pytest.param(
        "A[repo-production]50 B[prod-team]50 C[v1-rc-2]50 D[v1-2]50",
        "T1 *prod* P1; T2 v*-rc-* P1",
        "A@1 B@1 C@2",
        "",
        id="24-stars-anywhere",
    ),
    pytest.param("A[prod-1,tmp-1]100", "T1 prod* P365; T2 tmp* P7", "", "", id="25-shield-without-a-mark"),
    pytest.param("A[a*b]50 B[axb]50", "T1 prefix:a P1", "A@1 B@1", "", id="26-prefix-is-no-pattern"),
    # The same point, where it can be told from a pattern.
    pytest.param("A[a*b]50 B[axb]50", "T1 prefix:a* P1", "A@1", "", id="26-star-in-a-prefix"),
]


@pytest.mark.parametrize(("images", "policy", "acted", "held"), EXAMPLES)
def test_example(images: str, policy: str, acted: str, held: str) -> None:
    """What goes, in which order and by which rule, and what is held back, is what ECR does."""
    verdicts = select_expired(read_policy(policy), read_images(images), NOW)
    assert show_acted(verdicts) == acted
    assert show_held(verdicts) == held


def test_every_example_is_here() -> None:
    """All 26 of them."""
    assert {int(str(example.id).split("-")[0]) for example in EXAMPLES} == set(range(1, 27))


@pytest.mark.parametrize(
    ("images", "policy", "acted", "held"),
    [
        pytest.param("X[v1]40 s[]50^X", "U1 P7", "", "s<X", id="untagged rule leaves a referrer of what stays"),
        pytest.param("X[v1]40 s[sig]50^X", "ANY1 C1", "s@1", "", id="a tag makes a referrer an image like others"),
        pytest.param("X[v1]40 s[sig]39^X", "T1 v* P30", "X@1", "", id="a referrer with a tag does not follow"),
        pytest.param("s[]50^X", "U1 P7", "s@1", "", id="a referrer whose subject is gone"),
        pytest.param("X[v1]40 s[]39^X t[]38^s", "T1 v* P30", "X@1 s@1 t@1", "", id="a referrer of a referrer"),
        pytest.param("X[v1]40 s[]1^X", "T1 v* P30; U2 P7", "X@1 s@1", "", id="a shielded referrer follows"),
        pytest.param("X[v1]40 s[]39^X Y[w]1>s", "T1 v* P30", "X@1", "", id="an index holds a referrer"),
        pytest.param("X[v1]40 s[]50^X", "ANY1 P30", "X@1 s@1", "", id="an older referrer goes after its subject"),
        pytest.param("X[v1]40>Y Y[]41>a a[]42", "ANY1 P30", "X@1 Y@1 a@1", "", id="an index of indexes"),
        pytest.param("X[v1]1>Y Y[]41>a a[]42", "ANY1 P30", "", "Y<X a<Y", id="an index of indexes that stays"),
        pytest.param("X[v1]40>a,z a[]41", "ANY1 P30", "X@1 a@1", "", id="a child that is not here"),
        pytest.param("X[]40>X", "ANY1 P30", "X@1", "", id="what no digest can do, itself"),
        pytest.param("X[]40>Y Y[]40>X", "ANY1 P30", "", "X<Y Y<X", id="what no digest can do, a circle"),
        pytest.param("X[v]40 s[]39^X", "ANY1 P30 transition", "X@1:transition s@1:transition", "", id="archived"),
        pytest.param(
            "X[v]40 s[]39^X Y[w]1>s",
            "T1 v P30 transition",
            "X@1:transition",
            "",
            id="an index holds it from the archive",
        ),
        pytest.param("X[v]40>a a[]41", "ANY1 P30 transition", "X@1:transition", "a<X", id="an index in the archive"),
        pytest.param(
            "X[v]40 s[]39^X", "T1 v P30 transition; U2 P7", "X@1:transition s@1:transition", "", id="never before it"
        ),
        pytest.param("A[v]40 B[v]40", "T1 v C1", "A@1", "", id="of one instant the greater digest is newer"),
        pytest.param("X[v]40>a a[]40", "ANY1 C1", "", "a<X", id="of one instant the index is newer"),
        pytest.param("A[v]40:archived=1", "ANY1 P7", "", "", id="the archive is out of reach of other rules"),
        pytest.param("A[v1]40 B[v2]50", "T3 v* P45; T7 * P1", "B@3", "", id="priorities need not be 1, 2, 3"),
    ],
)
def test_where_ecr_is_silent(images: str, policy: str, acted: str, held: str) -> None:
    """Relations between images are kept: nothing goes before what needs it, referrers go with their subject."""
    verdicts = select_expired(read_policy(policy), read_images(images), NOW)
    assert show_acted(verdicts) == acted
    assert show_held(verdicts) == held


def test_follower_names_its_subject() -> None:
    """A referrer that goes says with whom."""
    assert decide(read_policy("T1 v* P30"), read_images("X[v1]40 s[]39^X"))["s"].follows == "X"


def test_what_was_just_pushed_stays() -> None:
    """Within the time of grace nothing goes that never had a tag: an index may be about to name it."""
    images = read_images("A[v]40 X[v]10 a[]0.01 s[]0.02^X")
    verdicts = select_expired(read_policy("ANY1 C1"), images, NOW, grace=60 * 60 * 1000)
    assert show_acted(verdicts) == "A@1 X@1"
    reasons = {verdict.image.digest: verdict.reason for verdict in verdicts}
    assert "was told of it only 28 minutes 48 seconds ago" in reasons["s"]
    assert show_acted(select_expired(read_policy("ANY1 C1"), images, NOW)) == "A@1 X@1 s@1"


def test_two_images_of_one_digest_are_refused() -> None:
    """A digest is one image: two would hide each other's tags."""
    with pytest.raises(ValueError, match="same digest"):
        decide(read_policy("ANY1 C1"), read_images("A[v]1 A[w]2"))

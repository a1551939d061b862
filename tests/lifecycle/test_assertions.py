"""Tests of policies: what their format means, and what is said of those that are not in it."""

import json
from typing import Any

import pytest

from registry.lifecycle.assertions import AssertionsInvalid, Judged, judge, parse_suite
from registry.lifecycle.policy import parse_policy
from tests.lifecycle.notation import own_rule, rule_fields

NEWEST_TWO = "ANY9 C2"
THREE = [
    {"tags": ["v1"], "pushed": "30d"},
    {"tags": ["v2"], "pushed": "20d"},
    {"tags": ["v3", "latest"], "pushed": "12h"},
]


def suite_text(*rules: dict[str, Any] | str, **fields: Any) -> str:
    found = [rule_fields(rule) if isinstance(rule, str) else rule for rule in rules]
    return json.dumps({"policy": {"rules": found}, **fields})


def judged(*rules: dict[str, Any] | str, **fields: Any) -> list[Judged]:
    """Of all tests of the document."""
    suite = parse_suite(suite_text(*rules, **fields))
    policy = parse_policy(suite.policy_text, is_strict=False)
    return [each for case in suite.cases for each in judge(case, policy)]


def failed(*rules: dict[str, Any] | str, **fields: Any) -> list[str]:
    found = judged(*rules, **fields)
    return [f"{each.name}: {each.expected}, not {each.actual}" for each in found if not each.is_met]


def refusal(**fields: Any) -> str:
    """Why a document with these fields is none."""
    document: dict[str, Any] = {"policy": "policy.json", "images": THREE, "expect": {"v1": "kept"}}
    with pytest.raises(AssertionsInvalid) as problem:
        parse_suite(json.dumps({key: value for key, value in (document | fields).items() if value is not ...}))
    return str(problem.value)


def test_what_holds_is_met() -> None:
    """A tag, a digest and a part of the reason say what an image's verdict is."""
    images = [*THREE, {"digest": "loose", "pushed": "90d"}]
    found = judged(
        NEWEST_TWO,
        images=images,
        expect={"latest": "kept", "v1": {"verdict": "expired", "rule": 9}, "loose": {"reason": "this is number 4"}},
    )
    assert [(each.name, each.is_met) for each in found] == [("latest", True), ("v1", True), ("loose", True)]
    assert found[1].reason == "rule 9 expires all but the newest 2 of the images, and this is number 3"


def test_what_does_not_hold_is_told_with_what_is() -> None:
    """The verdict, the rule and the reason can each be wrong."""
    assert failed(
        NEWEST_TWO,
        images=THREE,
        expect={"v1": "kept", "v2": {"rule": 1}, "v3": {"verdict": "kept", "reason": "was pulled"}},
    ) == [
        "v1: kept, not expired by rule 9",
        "v2: anything by rule 1, not kept by rule 9",
        "v3: kept, because … was pulled …, not kept by rule 9",
    ]


def test_the_star_is_all_that_nothing_names() -> None:
    """`*` finds what a policy does beyond what its author thought of."""
    assert failed(NEWEST_TWO, images=THREE, expect={"v2": "kept", "*": "kept"}) == ["v1: kept, not expired by rule 9"]
    assert failed(NEWEST_TWO, images=THREE, expect={"v1": "expired", "*": "kept"}) == []


def test_a_tag_that_leaves_its_image_is_untagged() -> None:
    """What is expected of a tag is the tag's, of a digest the image's; `*` sees the tags that go."""
    removes = own_rule(
        1, {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*"], "tagOlderThanDays": 5}, expireTags=True
    )
    images = [{"digest": "image", "tags": ["v1", "pr-1", "pr-2"], "pushed": "9d"}]
    expect = {"pr-1": {"verdict": "untagged", "rule": 1}, "v1": "kept", "image": "kept"}
    assert failed(removes, images=images, expect=expect) == []
    assert failed(removes, images=images, expect=expect | {"*": "kept"}) == ["pr-2: kept, not untagged by rule 1"]


def test_tags_can_have_instants_of_their_own() -> None:
    """A tag that was set later than its image was pushed says when."""
    removes = own_rule(
        1, {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*"], "tagOlderThanDays": 5}, expireTags=True
    )
    images = [{"tags": {"pr-1": "9d", "pr-2": "1d"}, "pushed": "9d"}]
    assert failed(removes, images=images, expect={"pr-1": "untagged", "pr-2": "kept"}) == []


def test_pulls_are_of_anybody_or_of_somebody() -> None:
    """Whose pulls the policy ignores can be told apart from everybody else's."""
    unused = own_rule(1, {"tagStatus": "any", "notPulledForDays": 30, "ignorePullsBy": ["scanner"]})
    images = [
        {"tags": ["used"], "pushed": "90d", "pulled": "3d"},
        {"tags": ["scanned"], "pushed": "90d", "pulled": {"scanner": "1d", "ci": "60d"}},
    ]
    assert failed(unused, images=images, expect={"used": "kept", "scanned": "expired"}) == []


def test_relations_and_sizes() -> None:
    """Children and subjects are named by tag or digest, and sizes are bytes."""
    images = [
        {"tags": ["multi"], "pushed": "9d", "children": ["arm"], "size": 60},
        {"digest": "arm", "pushed": "9d", "size": 60},
        {"digest": "signature", "pushed": "9d", "subject": "multi"},
        {"tags": ["new"], "pushed": "1d", "size": 60},
    ]
    size = own_rule(1, {"tagStatus": "any", "repositorySizeMoreThan": 100})
    assert failed(size, images=images, expect={"new": "kept", "*": "expired"}) == []
    (kept,) = judged("U1 P5", images=images, expect={"arm": "kept"})
    assert kept.is_met
    assert "index multi still contains it" in kept.reason


def test_instants_need_an_instant() -> None:
    """With `at` images can have instants; a day more changes a verdict."""
    images = [{"tags": ["v1"], "pushed": "2027-01-01T12:00:00Z"}]
    tests = [
        {"at": "2027-01-15T12:00:00Z", "expect": {"v1": "kept"}},
        {"name": "a day later", "at": "2027-01-16", "expect": {"v1": "expired"}},
    ]
    assert failed("T1 v* P14", images=images, tests=tests) == []
    names = [case.name for case in parse_suite(suite_text("T1 v* P14", images=images, tests=tests)).cases]
    assert names == ["test 1", "a day later"]


def test_protected_tags_stay() -> None:
    """As in a repository whose settings protect them."""
    expect = {"v1": {"verdict": "kept", "reason": "protect=v1"}}
    assert failed(NEWEST_TWO, images=THREE, protect=["v1"], expect=expect) == []


def test_a_policy_is_in_a_file_or_in_the_document() -> None:
    """The path is told as it stands; a policy in the document as the text of one."""
    text = json.dumps({"policy": "../app.json", "images": THREE, "expect": {"*": "kept"}})
    assert (parse_suite(text).policy_file, parse_suite(text).policy_text) == ("../app.json", "")
    suite = parse_suite(suite_text(NEWEST_TWO, images=THREE, expect={"*": "kept"}))
    assert (suite.policy_file, json.loads(suite.policy_text)["rules"][0]["rulePriority"]) == ("", 9)


def image(**fields: Any) -> dict[str, Any]:
    """What is refused in the one image of a document."""
    return {"images": [{"tags": ["v1"], "pushed": "1d"} | fields]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"policy": ...}, "policy is missing"),
        ({"policy": 3}, "policy: it is the path of the policy's file, or the policy itself"),
        ({"imags": []}, '"imags" is no key here: there are name, at, protect, images, expect'),
        ({"images": ...}, "images is missing"),
        ({"expect": ...}, "expect is missing"),
        ({"images": []}, "images: it is an array with at least one entry"),
        ({"images": ["v1"]}, "images[0]: it is an object with digest, tags"),
        ({"name": 1}, "name: it is text"),
        ({"protect": "v*"}, "protect: it is an array"),
        ({"protect": ["v*", "*****"]}, "protect: a pattern is text with at most 4"),
        ({"at": "tomorrow"}, 'at: it is an instant such as 2027-01-31, not "tomorrow"'),
        ({"at": "2027-02-30"}, "at: it is an instant"),
        ({"tests": []}, '"expect" is no key here'),
        ({"expect": ..., "tests": {}}, "tests: it is an array"),
        ({"expect": ..., "tests": [{"images": THREE}]}, "tests[0].expect is missing"),
        ({"expect": ..., "tests": [{"expect": {"v1": "kept"}}, {"expect": {"v9": "kept"}}]}, "tests[1].expect.v9: no"),
        ({"images": [{"tags": ["v1"]}]}, "images[0]: pushed is missing"),
        (image(pushed="soon"), "images[0].pushed: it is an age such as 40d, 12h and 90m, or an instant such as"),
        (image(pushed=40), "images[0].pushed: it is an age"),
        (image(pushed="2027-01-01"), "with an instant the test needs one of its own: at"),
        ({"at": "2027-01-01"} | image(pushed="2027-01-02"), "2027-01-02 comes after the test's own instant"),
        (image(pulled=3), "images[0].pulled: it is an age"),
        (image(pulled={"ci": "x"}), "images[0].pulled.ci: it is an age"),
        (image(tags="v1"), "images[0].tags: it is an array"),
        (image(tags=[1]), "images[0].tags[0]: it is text, not 1"),
        (image(tags=["a b"]), "images[0].tags: a tag is at most 128 letters"),
        (image(tags=[]), "images[0]: an image needs a tag, or a digest"),
        (image(digest="*"), "images[0].digest: * stands for all images"),
        (image(size="1 MiB"), 'images[0].size: it is a number of bytes, not "1 MiB"'),
        (image(size=True), "images[0].size"),
        (image(size=-1), "images[0].size"),
        (image(children=["v11"]), 'images[0].children[0]: no image has the tag or digest "v11": did you mean v1?'),
        (image(subject="other"), "images[0].subject: no image has"),
        (image(archived="1d"), '"archived" is no key here'),
        ({"images": [THREE[0], THREE[0]]}, 'images[1]: another image has the name "v1" already'),
        ({"expect": {}}, "expect: it is an object such as"),
        ({"expect": {"v1": 1}}, "expect.v1: it is one of kept, expired, transition, untagged, or an object with"),
        ({"expect": {"v1": "gone"}}, 'a verdict is one of kept, expired, transition, untagged, not "gone"'),
        ({"expect": {"v1": {"verdict": None}}}, "not null"),
        ({"expect": {"v1": {"rule": "1"}}}, "expect.v1.rule: it is the rulePriority of the rule that decides"),
        ({"expect": {"v1": {"why": ""}}}, '"why" is no key here: there are verdict, rule and reason'),
        ({"expect": {"v4": "kept"}}, 'expect.v4: no image has the tag or digest "v4"'),
    ],
)
def test_a_document_that_is_none_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    """The message names the place and what belongs there."""
    assert said in refusal(**fields)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"policy": "a", "policy": "b"}', '"\ud800"'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    """Neither are documents that two readers could read differently."""
    with pytest.raises(AssertionsInvalid):
        parse_suite(text)

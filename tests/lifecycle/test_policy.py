"""What ECR refuses is refused, in its words and naming the rule; what it takes is taken; our keys change neither."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.lifecycle.policy import MOST_CHARACTERS, parse_policy
from registry.lifecycle.rules import Action, CountType, StorageClass, TagStatus
from registry.lifecycle.schema import PolicyInvalid
from tests.lifecycle.notation import policy_text, rule_fields

NO_SCHEMA = "instance failed to match exactly one schema (matched 0 out of 2)"
STANDARD_ONLY = (
    "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage class only"
)
DROP = object()


def refusal(text: str, *, is_strict: bool = True) -> PolicyInvalid:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text, is_strict=is_strict)
    return caught.value


def changed(rule: str, path: str, value: Any) -> str:
    """A policy of one rule, with the value at the path, or without it."""
    fields = rule_fields(rule)
    *parents, last = path.split(".")
    place = fields
    for name in parents:
        place = place[name]
    if value is DROP:
        del place[last]
    else:
        place[last] = value
    return json.dumps({"rules": [fields]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Could not map policyString into LifecyclePolicy: it is not JSON"),
        ("rules", "Could not map policyString into LifecyclePolicy: it is not JSON"),
        ("[]", "Could not map policyString into LifecyclePolicy"),
        ("\ud800", "Could not map policyString into LifecyclePolicy"),
        ('{"rules": [], "rules": []}', "Could not map policyString into LifecyclePolicy: a key stands twice"),
        ("[" * 10_000, "Could not map policyString into LifecyclePolicy: it is nested"),
        (
            policy_text("U1 C7").replace("7", "1" + "0" * 30),
            "Could not map policyString into LifecyclePolicy: a number",
        ),
        ("{}", 'object has missing required properties (["rules"])'),
        ('{"rules": {}}', 'instance type (object) does not match any allowed primitive type (allowed: ["array"])'),
        ('{"rules": null}', 'instance type (null) does not match any allowed primitive type (allowed: ["array"])'),
        ('{"rules": []}', "array is too short"),
        (policy_text("; ".join(f"T{n} v{n} C1" for n in range(1, 52))), "array is too long"),
        (policy_text("U1 P7")[:-1] + ', "version": 1}', "object instance has properties which are not allowed by"),
        (policy_text("U1 P7") + " " * MOST_CHARACTERS, "Member must have length less than or equal to 30720"),
    ],
)
def test_text_is_refused(text: str, reason: str) -> None:
    """What is no policy at all."""
    assert refusal(text).reason.startswith(reason)
    assert refusal(text).rule is None


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("selection", DROP, 'object has missing required properties (["selection"])'),
        ("action", DROP, 'object has missing required properties (["action"])'),
        ("action.type", DROP, 'object has missing required properties (["type"])'),
        ("selection.tagStatus", DROP, 'object has missing required properties (["tagStatus"])'),
        ("selection.countType", DROP, 'object has missing required properties (["countType"])'),
        ("selection.countNumber", DROP, 'object has missing required properties (["countNumber"])'),
        ("name", "x", 'object instance has properties which are not allowed by the schema: (["name"])'),
        ("selection.tags", [], 'object instance has properties which are not allowed by the schema: (["tags"])'),
        ("action.when", 1, 'object instance has properties which are not allowed by the schema: (["when"])'),
        ("selection", [], 'instance type (array) does not match any allowed primitive type (allowed: ["object"])'),
        ("action", "expire", 'instance type (string) does not match any allowed primitive type (allowed: ["object"])'),
        ("description", None, 'instance type (null) does not match any allowed primitive type (allowed: ["string"])'),
        ("selection.tagStatus", "x", 'instance value ("x") not found in enum :(possible values: ["tagged",'),
        ("selection.tagStatus", ["tagged"], 'instance value (["tagged"]) not found in enum'),
        ("selection.countUnit", "months", 'instance value ("months") not found in enum :(possible values: ["days"])'),
        ("selection.storageClass", "x", 'instance value ("x") not found in enum :(possible values: ["standard",'),
        ("action.type", "delete", 'instance value ("delete") not found in enum :(possible values: ["expire",'),
        ("action.type", "x" * 999, f'instance value ("{"x" * 99}...) not found in enum'),
        ("selection.countNumber", 0, "numeric instance is lower than the required minimum (minimum: 1, found: 0)"),
        ("selection.countNumber", -1, "numeric instance is lower than the required minimum (minimum: 1, found: -1)"),
        ("selection.countNumber", 1 << 31, "numeric instance is greater than the required maximum"),
        ("selection.countNumber", 1.5, "instance type (number) does not match any allowed primitive type"),
        ("selection.countNumber", "7", "instance type (string) does not match any allowed primitive type"),
        ("selection.countNumber", True, "instance type (boolean) does not match any allowed primitive type"),
        ("selection.countType", "x", NO_SCHEMA),
        ("selection.countType", None, NO_SCHEMA),
        ("selection.countType", "repositorySizeMoreThan", NO_SCHEMA),
        ("selection.countType", "notPulledForDays", NO_SCHEMA),
        ("selection.countUnit", DROP, NO_SCHEMA),
        ("selection.countUnit", None, NO_SCHEMA),
        ("selection.storageClass", None, NO_SCHEMA),
        ("selection.tagPrefixList", None, NO_SCHEMA),
        ("action.targetStorageClass", None, NO_SCHEMA),
        ("action.targetStorageClass", "archive", NO_SCHEMA),
        ("action", {"type": "transition"}, "Could not map policyString into LifecyclePolicy"),
        ("action", {"type": "transition", "targetStorageClass": None}, NO_SCHEMA),
        ("action", {"type": "transition", "targetStorageClass": "x"}, 'instance value ("x") not found in enum'),
        ("action", {"type": "keep"}, 'instance value ("keep") not found in enum'),
        ("action", {"type": "expireTags"}, 'instance value ("expireTags") not found in enum'),
        ("selection.tagPatternList", DROP, "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED."),
        ("selection.tagPrefixList", ["x"], "If policy has a tagged rule, it must specify only one of tagPrefixList or"),
        ("selection.tagStatus", "untagged", "Cannot specify tagPatternList with tagStatus untagged"),
        ("selection.tagStatus", "any", "Cannot specify tagPatternList with tagStatus any"),
        ("selection.tagPatternList", [], "array is too short"),
        ("selection.tagPatternList", "v*", "instance type (string) does not match any allowed primitive type"),
        ("selection.tagPatternList", [7], "instance type (integer) does not match any allowed primitive type"),
        ("selection.tagPatternList", ["v", ""], 'string "" is too short'),
        ("selection.tagPatternList", ["test*1*2*3*4*5*6"], "Invalid tag pattern provided"),
        ("selection.tagPatternList", ["*" * 50], "Invalid tag pattern provided"),
        ("selection.storageClass", "archive", STANDARD_ONLY),
        ("selection.countType", "sinceImagePulled", "SINCE_IMAGE_PULLED supports the TRANSITION action only"),
    ],
)
def test_rule_is_refused(path: str, value: Any, reason: str) -> None:
    """What is wrong with one rule is said in ECR's words, after its rulePriority and before the key."""
    problem = refusal(changed("T12 v* P7", path, value))
    assert problem.reason.startswith(reason)
    assert str(problem) == f"rule 12: {problem.reason}" + (f" [{problem.key}]" if problem.key else "")
    assert problem.rule == 12


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("rulePriority", 0, "rulePriority"),
        ("name", "x", ""),
        ("description", 7, "description"),
        ("selection", 7, "selection"),
        ("selection.tags", [], "selection"),
        ("selection.tagStatus", "x", "selection.tagStatus"),
        ("selection.tagPatternList", [""], "selection.tagPatternList"),
        ("selection.tagPatternList", ["*" * 5], "selection.tagPatternList"),
        ("selection.storageClass", "x", "selection.storageClass"),
        ("selection.countType", "x", "selection.countType"),
        ("selection.countUnit", DROP, "selection.countUnit"),
        ("selection.countNumber", 0, "selection.countNumber"),
        ("action.type", "x", "action.type"),
        ("action.targetStorageClass", "archive", "action.targetStorageClass"),
    ],
)
def test_refusals_name_the_key(path: str, value: Any, key: str) -> None:
    """In brackets, after ECR's sentence, which says nothing of it."""
    problem = refusal(changed("T12 v* P7", path, value))
    assert problem.key == key
    assert str(problem).endswith(f" [{key}]") or not key


@pytest.mark.parametrize(
    ("text", "place"), [("rules", "line 1, column 1"), ('{\n  "rules": [,]}', "line 2, column 13")]
)
def test_bad_syntax_has_a_place(text: str, place: str) -> None:
    """Its line and column, as editors count them."""
    assert str(refusal(text)).endswith(f" at {place}")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("ANY3 A30", "numeric instance is lower than the required minimum (minimum: 90, found: 30)"),
        ("ANY3 A365 transition", "SINCE_IMAGE_TRANSITIONED supports the EXPIRE action only"),
    ],
)
def test_archive_rule_is_refused(rule: str, reason: str) -> None:
    """What is in the archive stays there for 90 days, and can only expire."""
    assert str(refusal(policy_text(rule))).startswith(f"rule 3: {reason} [selection")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("selection.countUnit", "days", NO_SCHEMA),
        ("selection.tagPrefixList", [], "Cannot specify tagPrefixList with tagStatus any"),
    ],
)
def test_count_rule_is_refused(path: str, value: Any, reason: str) -> None:
    """A count has no unit, and `any` no list, not even an empty one."""
    assert str(refusal(changed("ANY4 C7", path, value))).startswith(f"rule 4: {reason} [selection")


@pytest.mark.parametrize("priority", [0, -1, 1 << 31, (1 << 63) - 1, 1.5, "1", None, True, [], DROP])
def test_priority_is_refused(priority: Any) -> None:
    """A rule whose priority says nothing is named by its place."""
    problem = refusal(changed("U1 P7", "rulePriority", priority))
    known = isinstance(priority, int) and not isinstance(priority, bool)
    assert str(problem).startswith(f"rule {priority}: numeric instance" if known else "rule at position 1: ")


@pytest.mark.parametrize("rule", [None, [], "x", 7, 1.5, True])
def test_rule_is_an_object(rule: Any) -> None:
    """Anything else is refused, at its place."""
    problem = refusal(json.dumps({"rules": [rule_fields("U1 P7"), rule]}))
    assert str(problem).startswith("rule at position 2: instance type (")
    assert str(problem).endswith('does not match any allowed primitive type (allowed: ["object"])')
    assert problem.key == ""


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("U1 P7; T1 v* C1", "rule 1: Duplicate priority in multiple rules"),
        ("ANY1 P7; ANY2 C1", "rule 2: Only one rule can specify tagStatus=ANY"),
        ("U1 P7; T2 v* C1; U3 C1", "rule 3: Only one rule can select Untagged images per storage class."),
        ("ANY1 P7; T2 v* C1", "rule 1: Rule for tagStatus=ANY must have the lowest priority per storage class"),
        ("T2 v* C1; ANY1 P7", "rule 1: Rule for tagStatus=ANY must have the lowest priority per storage class"),
        ("ANY1 A90; U2 A90", "rule 1: Rule for tagStatus=ANY must have the lowest priority per storage class"),
        ("T1 prefix:a,b C1; T2 prefix:b,a P7", "rule 2: tagPrefixList must contain a unique set of prefixes"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(rules: str, message: str) -> None:
    """Each rule is fine alone; the message names the one that should go or move."""
    assert str(refusal(policy_text(rules))).startswith(message)


@pytest.mark.parametrize(
    "rules",
    [
        "ANY1 C1",
        "U1 P7",
        "T1 v* C1; T2 w*,x* P1; U3 P1; ANY4 C100",
        "ANY9 C1; T1 v* C1",
        "ANY1 P30 transition; ANY2 A365",
        "U1 P30 transition; U2 A90",
        "ANY1 L90 transition",
        "ANY1 C9 transition",
        "T1 prefix:a C1; T2 prefix:a,b C1",
        "T1 prefix:a C1; T2 prefix:a A90",
        "T1 a* C1; T2 a* P7",
        "T1 *test*1*2*3,test*1*2*3* C1",
        "T1 [a-z]? C1",
        "; ".join(f"T{number} v{number} C9999" for number in range(1, 51)),
    ],
)
@pytest.mark.parametrize("is_strict", [True, False])
def test_policy_is_taken(rules: str, is_strict: bool) -> None:
    """Whatever ECR takes is taken, with our own keys on or off, and its rules come by priority."""
    policy = parse_policy(policy_text(rules), is_strict=is_strict)
    priorities = [rule.priority for rule in policy.rules]
    assert priorities == sorted(priorities)
    assert len(priorities) == len(rules.split("; "))


def test_policy_is_read() -> None:
    """All that a rule says arrives in its value."""
    fields = rule_fields("T7 prefix:v,w,v P30 transition") | {"description": "old ones"}
    (rule,) = parse_policy(json.dumps({"rules": [fields]}), is_strict=True).rules
    assert (rule.priority, rule.description, rule.action) == (7, "old ones", Action.TRANSITION)
    assert (rule.count.kind, rule.count.number) == (CountType.SINCE_IMAGE_PUSHED, 30)
    assert rule.selection.tag_status is TagStatus.TAGGED
    assert rule.selection.storage_class is StorageClass.STANDARD
    assert [pattern.text for pattern in rule.selection.patterns] == ["v", "w"]


SELECTION = ("tagStatus", "tagPatternList", "tagPrefixList", "storageClass", "countType", "countUnit", "countNumber")
PATHS = [
    "rulePriority",
    "description",
    "selection",
    "action",
    "action.type",
    "action.targetStorageClass",
    *(f"selection.{name}" for name in SELECTION),
]
VALUES = [
    DROP, None, 0, 1, 7, 90, 1 << 31, 1.0, True, "", "x", [], ["v*"], ["*" * 5], {}, {"type": "expire"}, *TagStatus,
    *StorageClass, *CountType, *Action, "days",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(["T1 v* C1", "U2 P7", "ANY3 L9 transition", "ANY4 A90", "T5 prefix:v C3"]), min_size=1),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(PATHS), st.sampled_from(VALUES)), max_size=3),
)
def test_our_keys_make_nothing_of_ecr_legal(rules: list[str], changes: list[tuple[int, str, Any]]) -> None:
    """A policy of ECR's keys alone is taken or refused for one and the same reason, whether ours are allowed or not."""
    fields: list[dict[str, Any]] = [rule_fields(rule) for rule in rules]
    for position, path, value in changes:
        *parents, last = path.split(".")
        place: Any = fields[position % len(fields)]
        for name in parents:
            place = place.get(name)
        if isinstance(place, dict) and value is DROP:
            place.pop(last, None)
        elif isinstance(place, dict):
            place[last] = copy.deepcopy(value)
    text = json.dumps({"rules": fields})
    assert outcome(text, is_strict=True) == outcome(text, is_strict=False)


def outcome(text: str, *, is_strict: bool) -> object:
    try:
        return parse_policy(text, is_strict=is_strict)
    except PolicyInvalid as problem:
        return str(problem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from([path.split(".")[-1] for path in PATHS] + ["rules", "keep"]), children)
    ),
    max_leaves=20,
)


@given(st.text(max_size=50) | JSON.map(lambda value: json.dumps({"rules": [value]})), st.booleans())
def test_any_text_is_read_or_refused(text: str, is_strict: bool) -> None:
    """Nothing but PolicyInvalid is raised, whatever the text."""
    assert outcome(text, is_strict=is_strict)

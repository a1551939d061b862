"""Reads a policy: ECR's JSON, refused where ECR refuses it and in its words, and our own keys on top.

Each of our keys takes the place of one that ECR demands: a tool that drops the keys it does not know leaves a policy
that is refused, never one that expires more.
"""

import json
from typing import Any

from registry.lifecycle.consistency import check_together
from registry.lifecycle.patterns import Pattern, PatternInvalid
from registry.lifecycle.rules import (
    ECR_COUNT_TYPES,
    Action,
    Count,
    CountType,
    Policy,
    Rule,
    Selection,
    StorageClass,
    TagStatus,
)
from registry.lifecycle.schema import (
    NO_SCHEMA,
    UNREADABLE,
    PolicyInvalid,
    below,
    check_array,
    check_integer,
    check_keys,
    check_one_of,
    check_texts,
    check_type,
)
from registry.oci.strict_json import JSONRefused, decode

MOST_CHARACTERS = 30_720
MOST_RULES = 50
_MOST_BYTES = (1 << 63) - 1
_LEAST_ARCHIVED_DAYS = 90

_RULE_KEYS = ("rulePriority", "description", "selection", "action")
_COUNT_KEYS = ("countType", "countUnit", "countNumber")
_LIST_KEYS = ("tagPatternList", "tagPrefixList")
_SELECTION_KEYS = ("tagStatus", *_LIST_KEYS, "storageClass", *_COUNT_KEYS)
_OPTIONAL_KEYS = (*_LIST_KEYS, "storageClass", "countUnit")

_ANY_LIST, _IGNORED = "tagPatternAnyList", "ignorePullsBy"
_OWN_ACTIONS = (Action.KEEP, Action.EXPIRE_TAGS)
_OWN_COUNTS = tuple(kind for kind in CountType if kind and kind not in ECR_COUNT_TYPES)
_OWN_SELECTION_KEYS = (_ANY_LIST, _IGNORED, *_OWN_COUNTS)
_COUNTS_OF = {
    Action.EXPIRE: (CountType.NOT_PULLED_FOR_DAYS, CountType.REPOSITORY_SIZE_MORE_THAN),
    Action.TRANSITION: (),
    Action.KEEP: (CountType.NEWEST_IMAGES, CountType.PULLED_WITHIN_DAYS, CountType.PUSHED_WITHIN_DAYS),
    Action.EXPIRE_TAGS: (
        CountType.TAG_COUNT_MORE_THAN,
        CountType.TAG_OLDER_THAN_DAYS,
        CountType.NOT_PULLED_FOR_DAYS,
    ),
}
_COUNTS_PULLS = (
    CountType.NOT_PULLED_FOR_DAYS,
    CountType.REPOSITORY_SIZE_MORE_THAN,
    CountType.PULLED_WITHIN_DAYS,
)
_ARCHIVE_ONLY = "SINCE_IMAGE_TRANSITIONED supports the ARCHIVE storage class only"
_STANDARD_ONLY = (
    "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage class only"
)


def parse_policy(text: str, *, is_strict: bool) -> Policy:
    """With `is_strict` our own keys are refused, as ECR would refuse them. Raises PolicyInvalid."""
    if len(text) > MOST_CHARACTERS:
        raise PolicyInvalid(f"Member must have length less than or equal to {MOST_CHARACTERS}")
    fields = _decode(text)
    check_keys(fields, allowed=("rules",), required=("rules",))
    rules = []
    for position, rule in enumerate(check_array(fields["rules"], MOST_RULES), 1):
        try:
            rules.append(_parse_rule(rule, is_strict=is_strict))
        except PolicyInvalid as problem:
            raise problem.at(position, rule) from None
    check_together(rules)
    return Policy(tuple(sorted(rules, key=lambda rule: rule.priority)))


def _decode(text: str) -> Any:
    try:
        fields = decode(text.encode())
    except (JSONRefused, UnicodeEncodeError) as problem:
        raise PolicyInvalid(f"{UNREADABLE}: {_show(problem)}") from None
    if not isinstance(fields, dict):
        raise PolicyInvalid(UNREADABLE)
    return fields


def _show(problem: ValueError) -> str:
    """Bad syntax with its line and column, for a policy is written by hand."""
    found = problem.__context__
    if isinstance(found, json.JSONDecodeError):
        return f"it is not JSON: {found.msg} at line {found.lineno}, column {found.colno}"
    return str(problem)


def _parse_rule(fields: Any, *, is_strict: bool) -> Rule:
    check_type(fields, dict)
    own = () if is_strict else tuple(name for name in _OWN_ACTIONS if name in fields)
    required = ("rulePriority", "selection", *(() if own else ("action",)))
    check_keys(fields, (*_RULE_KEYS, *(() if is_strict else _OWN_ACTIONS)), required)
    with below("rulePriority"):
        priority = check_integer(fields["rulePriority"])
    with below("description"):
        check_type(fields.get("description", ""), str)
    if own:
        action = _parse_own_action(fields, own)
    else:
        with below("action"):
            action = _parse_action(fields["action"])
    with below("selection"):
        selection = _parse_selection(fields["selection"], action, is_strict=is_strict)
    return Rule(priority, selection, action, fields.get("description", ""))


def _parse_own_action(fields: dict[str, Any], own: tuple[Action, ...]) -> Action:
    if len(own) > 1 or "action" in fields:
        raise PolicyInvalid("a rule has one of action, keep and expireTags")
    if fields[own[0]] is not True:
        raise PolicyInvalid(f"{own[0]} is true, or not there at all")
    return own[0]


def _parse_action(fields: Any) -> Action:
    check_keys(fields, allowed=("type", "targetStorageClass"), required=("type",))
    with below("type"):
        check_one_of(fields["type"], (Action.EXPIRE, Action.TRANSITION))
    action = Action(fields["type"])
    if action is Action.TRANSITION and "targetStorageClass" not in fields:
        raise PolicyInvalid(UNREADABLE, key="targetStorageClass")
    target = fields.get("targetStorageClass", "")
    if target is None or (action is Action.EXPIRE and "targetStorageClass" in fields):
        raise PolicyInvalid(NO_SCHEMA, key="targetStorageClass")
    if action is Action.TRANSITION:
        with below("targetStorageClass"):
            check_one_of(target, (StorageClass.ARCHIVE,))
    return action


def _parse_selection(fields: Any, action: Action, *, is_strict: bool) -> Selection:
    check_type(fields, dict)
    own = () if is_strict else tuple(name for name in _OWN_COUNTS if name in fields)
    is_own = bool(own) or action in _OWN_ACTIONS
    required = ("tagStatus", *(() if is_own else ("countType", "countNumber")))
    check_keys(fields, (*_SELECTION_KEYS, *(() if is_strict else _OWN_SELECTION_KEYS)), required)
    with below("tagStatus"):
        check_one_of(fields["tagStatus"], tuple(TagStatus))
    for name in _OPTIONAL_KEYS:
        if name in fields and fields[name] is None:
            raise PolicyInvalid(NO_SCHEMA, key=name)
    if is_own:
        count, storage_class = _parse_own_count(fields, action, own), None
    else:
        count, storage_class = _parse_count(fields, action)
    status = TagStatus(fields["tagStatus"])
    return Selection(
        tag_status=status,
        count=count,
        storage_class=StorageClass.STANDARD if storage_class is None and action is Action.EXPIRE else storage_class,
        patterns=_parse_patterns(fields, status, action),
        is_any_enough=_ANY_LIST in fields,
        ignored=_parse_ignored(fields, count),
    )


def _parse_count(fields: dict[str, Any], action: Action) -> tuple[Count, StorageClass]:
    if fields["countType"] not in ECR_COUNT_TYPES:
        raise PolicyInvalid(NO_SCHEMA, key="countType")
    kind = CountType(fields["countType"])
    if ("countUnit" in fields) == (kind is CountType.IMAGE_COUNT_MORE_THAN):
        raise PolicyInvalid(NO_SCHEMA, key="countUnit")
    with below("countUnit"):
        check_one_of(fields.get("countUnit", "days"), ("days",))
    with below("storageClass"):
        check_one_of(fields.get("storageClass", StorageClass.STANDARD), tuple(StorageClass))
    storage_class = StorageClass(fields.get("storageClass", StorageClass.STANDARD))
    is_archived = kind is CountType.SINCE_IMAGE_TRANSITIONED
    with below("countNumber"):
        count = Count(kind, check_integer(fields["countNumber"], _LEAST_ARCHIVED_DAYS if is_archived else 1))
    if is_archived != (storage_class is StorageClass.ARCHIVE):
        raise PolicyInvalid(_ARCHIVE_ONLY if is_archived else _STANDARD_ONLY)
    if is_archived and action is Action.TRANSITION:
        raise PolicyInvalid("SINCE_IMAGE_TRANSITIONED supports the EXPIRE action only")
    if kind is CountType.SINCE_IMAGE_PULLED and action is Action.EXPIRE:
        raise PolicyInvalid("SINCE_IMAGE_PULLED supports the TRANSITION action only")
    return count, storage_class


def _parse_own_count(fields: dict[str, Any], action: Action, own: tuple[CountType, ...]) -> Count:
    standing = [name for name in (*_COUNT_KEYS, "storageClass") if name in fields]
    if standing:
        raise PolicyInvalid(f"{own[0] if own else action} stands in place of {', '.join(standing)}")
    possible = _COUNTS_OF[action]
    if not own and action is Action.KEEP:
        return Count(CountType.EVERY, 0)
    if len(own) != 1 or own[0] not in possible:
        choice = f"one of {', '.join(possible)}" if possible else "no count of ours"
        raise PolicyInvalid(f"a rule that does {action} has {choice}, not {', '.join(own) or 'none'}")
    kind = own[0]
    is_bytes = kind is CountType.REPOSITORY_SIZE_MORE_THAN
    with below(kind):
        number = check_integer(fields[kind], maximum=_MOST_BYTES) if is_bytes else check_integer(fields[kind])
    return Count(kind, number)


def _parse_patterns(fields: dict[str, Any], status: TagStatus, action: Action) -> tuple[Pattern, ...]:
    names = [name for name in (*_LIST_KEYS, _ANY_LIST) if name in fields]
    if action is Action.EXPIRE_TAGS and (status is not TagStatus.TAGGED or names != [_ANY_LIST]):
        raise PolicyInvalid(f"a rule that does {action} has tagStatus tagged and {_ANY_LIST}")
    if status is not TagStatus.TAGGED:
        if names:
            raise PolicyInvalid(f"Cannot specify {names[0]} with tagStatus {status}")
        return ()
    if not names:
        raise PolicyInvalid("Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.")
    if len(names) > 1:
        raise PolicyInvalid(
            "If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList"
            if names == list(_LIST_KEYS)
            else f"a rule has one of {', '.join(names)}"
        )
    with below(names[0]):
        texts = check_texts(fields[names[0]])
        if names[0] == "tagPrefixList":
            return tuple(Pattern.prefix(text) for text in dict.fromkeys(texts))
        return _parse_each(texts)


def _parse_each(texts: list[str]) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern.parse(text) for text in dict.fromkeys(texts))
    except PatternInvalid:
        raise PolicyInvalid("Invalid tag pattern provided") from None


def _parse_ignored(fields: dict[str, Any], count: Count) -> tuple[Pattern, ...]:
    if _IGNORED not in fields:
        return ()
    if count.kind not in _COUNTS_PULLS:
        raise PolicyInvalid(f"{_IGNORED} goes with one of {', '.join(_COUNTS_PULLS)}")
    with below(_IGNORED):
        names = check_texts(fields[_IGNORED])
    try:
        return tuple(Pattern.parse(name) for name in dict.fromkeys(names))
    except PatternInvalid as problem:
        raise PolicyInvalid(f"{_IGNORED} names identities: {problem}") from None

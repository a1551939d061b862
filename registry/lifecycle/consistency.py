"""What ECR demands of the rules of a policy together: each can be legal alone and they still contradict each other."""

from collections.abc import Sequence

from registry.lifecycle.rules import Rule, StorageClass, TagStatus
from registry.lifecycle.schema import PolicyInvalid


def check_together(rules: Sequence[Rule]) -> None:
    """Raises PolicyInvalid for the first problem, naming the rule that should go or move."""
    _check_priorities(rules)
    for storage_class in StorageClass:
        ordered = sorted(
            (rule for rule in rules if rule.is_ordered and rule.selection.storage_class is storage_class),
            key=lambda rule: rule.priority,
        )
        shielding = [rule for rule in ordered if rule.shields]
        _check_single(shielding, TagStatus.ANY, "Only one rule can specify tagStatus=ANY")
        _check_single(shielding, TagStatus.UNTAGGED, "Only one rule can select Untagged images per storage class.")
        _check_any_is_last(ordered)
        _check_prefixes(shielding)


def _check_priorities(rules: Sequence[Rule]) -> None:
    seen: set[int] = set()
    for rule in rules:
        if rule.priority in seen:
            raise _refuse(rule, "Duplicate priority in multiple rules")
        seen.add(rule.priority)


def _check_single(rules: Sequence[Rule], status: TagStatus, reason: str) -> None:
    found = [rule for rule in rules if rule.selection.tag_status is status]
    if len(found) > 1:
        raise _refuse(found[1], reason)


def _check_any_is_last(ordered: Sequence[Rule]) -> None:
    """Of our rules too: what comes after a rule that shields everything would never act."""
    for rule in ordered[:-1]:
        if rule.shields and rule.selection.tag_status is TagStatus.ANY:
            raise _refuse(rule, "Rule for tagStatus=ANY must have the lowest priority per storage class")


def _check_prefixes(rules: Sequence[Rule]) -> None:
    seen: set[frozenset[str]] = set()
    for rule in rules:
        patterns = rule.selection.patterns
        prefixes = frozenset(pattern.text for pattern in patterns if pattern.is_prefix)
        if prefixes and prefixes in seen:
            raise _refuse(rule, "tagPrefixList must contain a unique set of prefixes per storage class")
        seen.add(prefixes)


def _refuse(rule: Rule, reason: str) -> PolicyInvalid:
    return PolicyInvalid(reason, f"rule {rule.priority}", rule.priority)

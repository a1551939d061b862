"""A short notation for images and policies, and for what becomes of them, so that examples are tables.

Images: `X[v1,latest]10>a,b` is an index of 10 days with two tags and two children, `s[]9^X` a referrer without a tag;
`:pulled=3`, `:restored=2`, `:archived=400` are days ago. Policies: `T1 prod*,x C1; U2 P7; ANY3 L90 transition` are
rules for tagged images (all patterns), untagged and any; C counts images, P days since the push, L since the last
pull, A since the move to the archive. The digest of an image is its letter.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from registry.lifecycle.claims import DAY
from registry.lifecycle.images import Image
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.rules import Policy
from registry.lifecycle.selection import select_expired
from registry.lifecycle.verdicts import Outcome, Verdict
from registry.oci.media_types import OCI_INDEX, OCI_MANIFEST

NOW = 1_800_000_000_000
_IMAGE = re.compile(r"(\w+)\[([^\]]*)\]([\d.]+)(?:>([\w,]+))?(?:\^(\w+))?((?::\w+=[\d.]+)*)")
_RULE = re.compile(r"(T|U|ANY)(\d+)(?: (prefix:)?(\S+))??(?: ([CPLA])(\d+))( transition)?")
_COUNT_TYPES = {
    "C": "imageCountMoreThan",
    "P": "sinceImagePushed",
    "L": "sinceImagePulled",
    "A": "sinceImageTransitioned",
}
_STATUSES = {"T": "tagged", "U": "untagged", "ANY": "any"}


def ago(days: float) -> int:
    return NOW - round(days * DAY)


def read_image(text: str) -> Image:
    match = _IMAGE.fullmatch(text)
    assert match, text
    digest, tags, age, children, subject, events = match.groups()
    instants = {name: ago(float(days)) for name, days in re.findall(r":(\w+)=([\d.]+)", events)}
    return Image(
        digest=digest,
        media_type=OCI_INDEX if children else OCI_MANIFEST,
        pushed_at=ago(float(age)),
        tags={tag: ago(float(age)) for tag in tags.split(",") if tag},
        pulls={"someone": instants["pulled"]} if "pulled" in instants else {},
        children=tuple(children.split(",")) if children else (),
        subject=subject,
        archived_at=instants.get("archived"),
        restored_at=instants.get("restored"),
    )


def read_images(text: str) -> list[Image]:
    return [read_image(word) for word in text.split()]


def rule_fields(text: str) -> dict[str, Any]:
    match = _RULE.fullmatch(text)
    assert match, text
    status, priority, is_prefix, patterns, count, number, is_transition = match.groups()
    selection: dict[str, Any] = {"tagStatus": _STATUSES[status]}
    if patterns:
        selection["tagPrefixList" if is_prefix else "tagPatternList"] = patterns.split(",")
    if count == "A":
        selection["storageClass"] = "archive"
    selection |= {"countType": _COUNT_TYPES[count], "countNumber": int(number)}
    if count != "C":
        selection["countUnit"] = "days"
    action = {"type": "transition", "targetStorageClass": "archive"} if is_transition else {"type": "expire"}
    return {"rulePriority": int(priority), "selection": selection, "action": action}


def policy_text(rules: str) -> str:
    return json.dumps({"rules": [rule_fields(rule) for rule in rules.split("; ")]})


def read_policy(rules: str) -> Policy:
    return parse_policy(policy_text(rules), is_strict=True)


def own_rule(priority: int, selection: Mapping[str, Any], **verb: bool) -> dict[str, Any]:
    """A rule with keys of ours: it expires, unless `verb` is keep or expireTags."""
    return {"rulePriority": priority, "selection": dict(selection), **(verb or {"action": {"type": "expire"}})}


def own_policy(*rules: dict[str, Any] | str) -> Policy:
    fields = [rule_fields(rule) if isinstance(rule, str) else rule for rule in rules]
    return parse_policy(json.dumps({"rules": fields}), is_strict=False)


def decide(policy: Policy, images: Iterable[Image]) -> dict[str, Verdict]:
    """The verdicts by digest, in their order."""
    return {verdict.image.digest: verdict for verdict in select_expired(policy, images, NOW)}


def show_acted(verdicts: Iterable[Verdict]) -> str:
    """`A@1` for an image that rule 1 expires, `A@1:transition` for one that it would archive, in order."""
    return " ".join(
        f"{verdict.image.digest}@{verdict.rule}{':transition' * (verdict.outcome is Outcome.TRANSITION)}"
        for verdict in verdicts
        if verdict.outcome is not Outcome.KEPT
    )


def show_held(verdicts: Iterable[Verdict]) -> str:
    """`a<X` for an image that a rule would take and that X holds."""
    return " ".join(
        sorted(f"{verdict.image.digest}<{verdict.held_by}" for verdict in verdicts if verdict.held_by is not None)
    )

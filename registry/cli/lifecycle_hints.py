"""What a policy's author may not have meant: rules that select no image, and why that is."""

import re

from registry.cli.output import print_hint, show_count
from registry.cli.printable import show_text
from registry.lifecycle.images import Image
from registry.lifecycle.patterns import Pattern
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.preview import Preview
from registry.lifecycle.rules import Selection, StorageClass

_IMPOSSIBLE = re.compile(r"[^a-zA-Z0-9._-]")  # in a tag
_NO_EXPRESSION = "a pattern is no regular expression, and only * is special"


def tell_idle_rules(preview: Preview) -> None:
    """On standard error, each rule that selects no image of a repository that has some."""
    images = [verdict.image for verdict in preview.verdicts]
    if not images:
        return
    for rule in parse_policy(preview.text, is_strict=False).rules:
        if any(rule.selection.selects(image) for image in images):
            continue
        reason = _explain(rule.selection, images)
        said = f"rule {rule.priority} selects none of {show_count(len(images), 'image')}"
        print_hint(f"{said}: {show_text(reason)}" if reason else said)


def _explain(selection: Selection, images: list[Image]) -> str:
    """What is the matter, where it is one of the common mistakes; else empty."""
    if selection.storage_class is StorageClass.ARCHIVE:
        return "there is no archive here"
    patterns = selection.patterns  # none but of tagStatus tagged
    if mistake := next(filter(None, map(_explain_pattern, patterns)), ""):
        return mistake
    needs_all = len(patterns) > 1 and not selection.is_any_enough
    if needs_all and any(pattern.is_match(tag) for image in images for tag in image.tags for pattern in patterns):
        return "one image must match all of its patterns: with tagPatternAnyList one of them is enough"
    return ""


def _explain_pattern(pattern: Pattern) -> str:
    """What no tag can match of it, or hardly any; else empty."""
    text = pattern.text
    if pattern.is_prefix and "*" in text:
        return f"the * of {text} is an ordinary character in tagPrefixList: use tagPatternList"
    if found := _IMPOSSIBLE.search("".join(pattern.parts)):
        return f"no tag has a {found[0]} as {text} has: {_NO_EXPRESSION}"
    if ".*" in text:
        return f"the . of {text} is an ordinary character: {_NO_EXPRESSION}"
    return ""

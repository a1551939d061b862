"""Policies and their tests as files: what cannot be read is refused with the file's name."""

from pathlib import Path

import typer

from registry.cli.invocation import Refused
from registry.lifecycle.policy import parse_policy
from registry.lifecycle.rules import Action, Policy
from registry.lifecycle.schema import PolicyInvalid

STDIN = "-"
_LARGEST = 4_194_304  # bytes


def name_file(file: str) -> str:
    return "standard input" if file == STDIN else file


def read_text(file: str) -> str:
    """The file's text, STDIN's for `-`, without a byte order mark. Raises Refused."""
    place = name_file(file)
    try:
        content = typer.get_binary_stream("stdin").read(_LARGEST + 1) if file == STDIN else _read(Path(file))
        if len(content) > _LARGEST:
            raise Refused(f"{place} is larger than 4 MiB")
        return content.decode("utf-8-sig")
    except OSError as problem:
        raise Refused(f"{place} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{place} is not UTF-8") from None


def check_policy(text: str, place: str, *, is_strict: bool) -> Policy:
    """The policy in the text that came from `place`. Raises Refused."""
    try:
        return parse_policy(text, is_strict=is_strict)
    except PolicyInvalid as problem:
        raise Refused(f"{place} is no policy: {problem}{hint_at_keys(text, is_strict=is_strict)}") from None


def hint_at_keys(text: str, *, is_strict: bool) -> str:
    """What to add to a refusal when the text is a policy with our own keys."""
    if not is_strict:
        return ""
    try:
        parse_policy(text, is_strict=False)
    except PolicyInvalid:
        return ""
    return "\nIt has keys that ECR does not know: ENTREPOT_LIFECYCLE_KEYS=ecr refuses them, all would take them"


def has_transitions(policy: Policy) -> bool:
    return any(rule.action is Action.TRANSITION for rule in policy.rules)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST + 1)

"""`entrepot lifecycle` set and preview: rules that select no image are told, and why that may be."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.access import done
from tests.cli.aged import Aged, fill_aged
from tests.cli.policies import APP, UNTAGGED_GO, write_policy
from tests.cli.running import entrepot

ECR_RULE: dict[str, Any] = {**UNTAGGED_GO, "rulePriority": 1}
NO_EXPRESSION = "a pattern is no regular expression, and only * is special"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"tagPatternList": ["v*"]}, None),
        ({"tagPatternList": ["v*", "pr-*"]}, None),
        ({"tagPatternAnyList": ["v*", "none"]}, None),
        ({"tagPatternList": ["none-*"]}, ""),
        ({"tagPatternAnyList": ["none", "nothing"]}, ""),
        ({"tagPatternList": ["none", "nothing"]}, ""),
        (
            {"tagPatternList": ["v*", "main"]},
            ": one image must match all of its patterns: with tagPatternAnyList one of them is enough",
        ),
        (
            {"tagPrefixList": ["v1.2", "main"]},
            ": one image must match all of its patterns: with tagPatternAnyList one of them is enough",
        ),
        (
            {"tagPrefixList": ["v*"]},
            ": the * of v* is an ordinary character in tagPrefixList: use tagPatternList",
        ),
        ({"tagPatternList": ["^v.*"]}, f": no tag has a ^ as ^v.* has: {NO_EXPRESSION}"),
        ({"tagPrefixList": ["v[0-9]"]}, f": no tag has a [ as v[0-9] has: {NO_EXPRESSION}"),
        ({"tagPatternAnyList": ["main.*"]}, f": the . of main.* is an ordinary character: {NO_EXPRESSION}"),
        ({"tagPatternList": ["\x1b*"]}, f": no tag has a \\x1b as \\x1b* has: {NO_EXPRESSION}"),
    ],
)
def test_a_rule_that_selects_nothing_is_told(
    data: Path, tmp_path: Path, keys: dict[str, Any], reason: str | None
) -> None:
    """By set and by preview, of whatever policy; with the reason where it is a common mistake."""
    fill_aged(data, APP)
    selection = {**ECR_RULE["selection"], "tagStatus": "tagged", **keys}
    file = write_policy(tmp_path / "policy.json", {**ECR_RULE, "selection": selection})
    for command in (
        ["preview", "acme/app", "--policy", file],
        ["set", "acme/app", file],
        ["preview", "acme/app"],
        ["preview", "acme/app", "--policy", file, "--diff"],
    ):
        told = [line for line in entrepot("lifecycle", *command).stderr.splitlines() if line.startswith("rule ")]
        assert told == ([] if reason is None else [f"rule 1 selects none of 5 images{reason}"]), command


def test_an_empty_repository_has_no_idle_rules(data: Path, tmp_path: Path) -> None:
    """And what is for an archive selects nothing anywhere."""
    keys = {"tagStatus": "any", "countType": "sinceImageTransitioned", "countNumber": 90, "storageClass": "archive"}
    rule = {**ECR_RULE, "selection": {**ECR_RULE["selection"], **keys}}
    file = write_policy(tmp_path / "policy.json", rule)
    fill_aged(data, [Aged("other", 1)], "acme/other")
    done("repository", "create", "acme/app")
    assert "rule 1" not in entrepot("lifecycle", "set", "acme/app", file).stderr
    fill_aged(data, [Aged("one", 1, ["v1"])])
    assert entrepot("lifecycle", "preview", "acme/app").stderr == (
        "rule 1 selects none of 1 image: there is no archive here\n"
    )

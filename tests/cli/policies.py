"""Policies of the lifecycle tests, and the repository acme/app that they decide about."""

import json
from pathlib import Path
from typing import Any

from tests.cli.aged import Aged

EXPIRE = {"action": {"type": "expire"}}
RELEASES_STAY = {
    "rulePriority": 1,
    "selection": {"tagStatus": "tagged", "tagPatternAnyList": ["v*"], "newestImages": 2},
    "keep": True,
}
UNTAGGED_GO: dict[str, Any] = {
    "rulePriority": 2,
    "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7},
    **EXPIRE,
}
UNUSED_GO = {"rulePriority": 3, "selection": {"tagStatus": "any", "notPulledForDays": 90}, **EXPIRE}
PULL_REQUEST_TAGS_GO = {
    "rulePriority": 4,
    "selection": {"tagStatus": "tagged", "tagPatternAnyList": ["pr-*"], "tagOlderThanDays": 14},
    "expireTags": True,
}
TRANSITION = {
    "rulePriority": 5,
    "selection": {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 30},
    "action": {"type": "transition", "targetStorageClass": "archive"},
}
ALL_BUT_ONE_GO = {
    "rulePriority": 1,
    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
    **EXPIRE,
}

APP = (
    Aged("old release", 300, ["v1.0"]),
    Aged("release", 200, ["v1.1"]),
    Aged("new release", 100, ["v1.2", "pr-7"]),
    Aged("old main", 30),
    Aged("main", 2, ["main"]),
)
MANY = tuple(Aged(f"build {number}", 40 - number, [f"build-{number}"]) for number in range(12))


def write_policy(path: Path, *rules: dict[str, Any]) -> str:
    """Returns the file's name."""
    path.write_text(json.dumps({"rules": rules}))
    return str(path)

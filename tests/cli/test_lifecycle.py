"""`entrepot lifecycle` set, list, show, remove, preview and test."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.lifecycle.assertions import WORDS
from tests.cli.access import done, refused
from tests.cli.aged import Aged, fill_aged
from tests.cli.policies import (
    APP,
    PULL_REQUEST_TAGS_GO,
    RELEASES_STAY,
    TRANSITION,
    UNTAGGED_GO,
    UNUSED_GO,
    write_policy,
)
from tests.cli.running import entrepot

RULES = (RELEASES_STAY, UNTAGGED_GO, UNUSED_GO, PULL_REQUEST_TAGS_GO)


@pytest.fixture
def digests(data: Path) -> dict[str, str]:
    """Of acme/app's images, by their notes."""
    return fill_aged(data, APP)


@pytest.fixture
def policy(tmp_path: Path, digests: dict[str, str]) -> str:
    """The file of the policy that acme/app has."""
    assert digests
    file = write_policy(tmp_path / "policy.json", *RULES)
    done("lifecycle", "set", "acme/app", file)
    return file


def words(line: str) -> list[str]:
    return line.split(maxsplit=5)


def verdicts(*options: str) -> dict[str, dict[str, Any]]:
    """What preview says of each image, or tag that goes alone, by the tag or the digest."""
    document = json.loads(done("lifecycle", "preview", "acme/app", "--json", *options))
    return {each["tag"] or (each["tags"] or [each["digest"]])[0]: each for each in document["verdicts"]}


@pytest.mark.usefixtures("digests")
def test_set_says_what_the_next_run_would_remove(tmp_path: Path) -> None:
    """And where to look at it; that nothing runs by itself is told to people alone."""
    file = write_policy(tmp_path / "policy.json", *RULES)
    outcome = entrepot("lifecycle", "set", "acme/app", file)
    assert outcome.status == 0
    assert outcome.stdout == (
        "acme/app has a policy of 4 rules: the next run would remove 2 of 5 images and 1 tag, 20.9 KiB:"
        " entrepot lifecycle preview acme/app\n"
    )
    assert outcome.stderr == (
        "No run comes by itself: let cron do `entrepot lifecycle run`, or set ENTREPOT_LIFECYCLE_HOURS\n"
    )


@pytest.mark.usefixtures("digests")
def test_a_policy_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `-`; with the clock of the server on there is no hint."""
    monkeypatch.setenv("ENTREPOT_LIFECYCLE_HOURS", "1")
    text = json.dumps({"rules": [{**UNTAGGED_GO, "description": "früher"}]}, ensure_ascii=False)
    outcome = entrepot("lifecycle", "set", "acme/app", "-", stdin=text.encode())
    assert (outcome.status, outcome.stderr) == (0, "")
    assert done("lifecycle", "show", "acme/app") == f"{text}\n"


def test_who_has_run_policies_is_not_told_of_clocks(policy: str) -> None:
    """The hint is for those who begin."""
    assert "No run comes by itself" in entrepot("lifecycle", "set", "acme/app", policy).stderr
    done("lifecycle", "run")
    assert "No run comes by itself" not in entrepot("lifecycle", "set", "acme/app", policy).stderr


@pytest.mark.usefixtures("digests")
def test_a_policy_with_nothing_to_do_says_so(tmp_path: Path) -> None:
    """It is stored all the same."""
    file = write_policy(tmp_path / "policy.json", RELEASES_STAY)
    said = done("lifecycle", "set", "acme/app", file)
    assert said == "acme/app has a policy of 1 rule: the next run would remove nothing\n"


@pytest.mark.usefixtures("digests")
def test_transitions_are_shown_and_not_applied(tmp_path: Path) -> None:
    """A policy with one is taken, and the commands say what it will not do."""
    file = write_policy(tmp_path / "policy.json", TRANSITION)
    said = "Transitions are shown, never applied: there is no archive to move to\n"
    assert said in entrepot("lifecycle", "set", "acme/app", file).stderr
    outcome = entrepot("lifecycle", "preview", "acme/app")
    assert outcome.stderr == said
    assert {word for line in outcome.stdout.splitlines()[1:-1] for word in words(line)[:1]} == {"transition", "kept"}
    assert outcome.stdout.endswith("the stored policy: nothing would go of 5 images\n")


@pytest.mark.usefixtures("policy")
def test_show_prints_the_policy_as_it_was_set(tmp_path: Path) -> None:
    """To standard output, so that it can be kept; who set it is told beside it, and in JSON."""
    outcome = entrepot("lifecycle", "show", "acme/app")
    assert outcome.stdout == (tmp_path / "policy.json").read_text() + "\n"
    assert outcome.stderr.startswith("Set at 20")
    document = json.loads(done("lifecycle", "show", "acme/app", "--json"))
    assert (document["repository"], document["policy"]) == ("acme/app", {"rules": list(RULES)})
    assert document["set_by"].startswith("cli:")


@pytest.mark.usefixtures("policy")
def test_list_names_those_that_have_a_policy(data: Path) -> None:
    """With the number of rules; in JSON with the policy itself."""
    fill_aged(data, [Aged("other", 1, ["latest"])], "acme/other")
    header, row = done("lifecycle", "list").splitlines()
    assert header.split() == ["REPOSITORY", "RULES", "SET", "AT", "SET", "BY", "DUE", "AT"]
    assert row.split()[:2] == ["acme/app", "4"]
    (listed,) = json.loads(done("lifecycle", "list", "--json"))["policies"]
    assert (listed["repository"], len(listed["policy"]["rules"])) == ("acme/app", 4)


@pytest.mark.usefixtures("policy")
def test_remove_takes_the_policy_away() -> None:
    """Then there is none to show, to preview, to run or to remove."""
    assert done("lifecycle", "remove", "acme/app") == "acme/app has no policy any more\n"
    for command in (["show", "acme/app"], ["remove", "acme/app"], ["preview", "acme/app"]):
        assert "entrepot lifecycle set acme/app FILE" in refused("lifecycle", *command)


def test_preview_shows_every_image_with_its_reason(policy: str, digests: dict[str, str]) -> None:
    """What goes comes first; a tag that goes alone has a row of its own."""
    assert policy
    header, *rows, summary = done("lifecycle", "preview", "acme/app").splitlines()
    assert header.split() == ["VERDICT", "IMAGE", "AGE", "RULE", "FREED", "REASON"]
    short = digests["old main"][:19]
    assert [row.split()[:4] for row in rows] == [
        ["expired", "v1.0", "300d", "3"],
        ["expired", short, "30d", "2"],
        ["kept", "v1.1", "200d", "1"],
        ["kept", "pr-7,", "v1.2", "100d"],
        ["untagged", "pr-7", "100d", "4"],
        ["kept", "main", "2d", "3"],
    ]
    assert "10.4 KiB  rule 3 expires images not pulled for more than 90 days, and this was pushed 300 days" in rows[0]
    assert rows[2].rstrip().endswith("rule 1 keeps the newest 2 of the images with a tag like v*, and this is number 2")
    assert summary == "the stored policy: 2 of 5 images and 1 tag would go, 20.9 KiB would become free 7 days later"


def test_preview_in_json_has_what_decided(policy: str, digests: dict[str, str]) -> None:
    """Digests, tags, instants, rule and bytes of each; and the sums."""
    assert policy
    document = json.loads(done("lifecycle", "preview", "acme/app", "--json"))
    facts = {name: document[name] for name in document if name not in ("at", "verdicts", "freed_bytes")}
    assert facts == {
        "repository": "acme/app",
        "policy": None,
        "images": 5,
        "expired_images": 2,
        "expired_tags": 1,
        "undelete_days": 7,
        "brake_percent": 50,
        "would_stop": False,
    }
    first = document["verdicts"][0]
    assert (first["verdict"], first["digest"], first["tags"]) == ("expired", digests["old release"], ["v1.0"])
    assert (first["rule"], first["pulled_at"], first["follows"], first["held_by"]) == (3, None, None, None)
    assert document["freed_bytes"] == sum(each["freed_bytes"] for each in document["verdicts"]) > 2 * 10_240
    assert {each["verdict"] for each in document["verdicts"]} <= set(WORDS)


@pytest.mark.usefixtures("policy")
def test_preview_can_show_only_what_goes() -> None:
    """With --expired, whose sums are of all images."""
    shown = done("lifecycle", "preview", "acme/app", "--expired").splitlines()
    assert [line.split()[0] for line in shown[1:-1]] == ["expired", "expired", "untagged"]
    assert "2 of 5 images" in shown[-1]


@pytest.mark.usefixtures("policy")
def test_preview_shows_the_future() -> None:
    """At a day to come, or so many days from now."""
    assert verdicts()["main"]["verdict"] == "kept"
    day = (datetime.now(UTC) + timedelta(days=100)).date().isoformat()
    for when in ("100d", day):
        assert verdicts("--at", when)["main"]["verdict"] == "expired", when
    shown = done("lifecycle", "preview", "acme/app", "--at", day).splitlines()[-1]
    assert shown.startswith(f"the stored policy, at {day}T00:00:00Z: 3 of 5 images")


@pytest.mark.usefixtures("digests")
def test_another_policy_is_tried_without_storing_it(tmp_path: Path) -> None:
    """Also where there is none yet."""
    file = write_policy(tmp_path / "new.json", UNTAGGED_GO)
    shown = done("lifecycle", "preview", "acme/app", "--policy", file)
    assert shown.endswith(f"{file}: 1 of 5 images would go, 10.4 KiB would become free 7 days later\n")
    assert json.loads(done("lifecycle", "list", "--json")) == {"policies": []}
    assert "no lifecycle policy" in refused("lifecycle", "preview", "acme/app", "--policy", file, "--diff")


@pytest.mark.usefixtures("policy")
def test_two_policies_are_compared(tmp_path: Path, digests: dict[str, str]) -> None:
    """Only what the other one decides otherwise is shown, with both verdicts and the other's reason."""
    file = write_policy(tmp_path / "new.json", UNTAGGED_GO)
    *rows, stored, new, summary = done("lifecycle", "preview", "acme/app", "--policy", file, "--diff").splitlines()
    assert [row.split()[:5] for row in rows] == [
        ["IMAGE", "AGE", "STORED", "NEW", "RULE"],
        ["v1.0", "300d", "expired", "kept", "-"],
        ["pr-7", "100d", "untagged", "kept", "-"],
    ]
    assert (stored[:28], new[: len(file) + 8]) == ("the stored policy: 2 of 5 im", f"{file}: 1 of 5")
    assert summary == "2 verdicts differ"
    document = json.loads(done("lifecycle", "preview", "acme/app", "--policy", file, "--diff", "--json"))
    assert [(each["stored"], each["verdict"], each["digest"]) for each in document["differences"]] == [
        ("expired", "kept", digests["old release"]),
        ("untagged", "kept", digests["new release"]),
    ]


def test_a_policy_compared_with_itself(policy: str) -> None:
    """Differs nowhere."""
    assert done("lifecycle", "preview", "acme/app", "--policy", policy, "--diff").endswith("no verdict differs\n")


@pytest.mark.usefixtures("digests")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"rules:", "standard input is no policy: Could not map policyString into LifecyclePolicy"),
        (b'{"rules": []}', "standard input is no policy: array is too short"),
        (json.dumps({"rules": [UNTAGGED_GO, UNTAGGED_GO]}).encode(), "rule 2: Duplicate priority in multiple rules"),
        (b"\xff", "standard input is not UTF-8"),
        (bytes(4 << 20) + b" ", "standard input is larger than 4 MiB"),
    ],
)
def test_what_is_no_policy_is_refused(content: bytes, said: str) -> None:
    """By set and by preview, with the rule and ECR's words; nothing is stored."""
    assert said in refused("lifecycle", "set", "acme/app", "-", stdin=content)
    assert said in refused("lifecycle", "preview", "acme/app", "--policy", "-", stdin=content)
    assert json.loads(done("lifecycle", "list", "--json")) == {"policies": []}


@pytest.mark.usefixtures("digests")
def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Some editors write one, which is no part of the policy."""
    file = Path(write_policy(tmp_path / "policy.json", UNTAGGED_GO))
    text = file.read_text()
    file.write_text(f"\ufeff{text}")
    done("lifecycle", "set", "acme/app", str(file))
    assert done("lifecycle", "show", "acme/app") == f"{text}\n"


@pytest.mark.usefixtures("digests")
def test_our_keys_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a policy with them is refused as ECR would, and the setting is named."""
    monkeypatch.setenv("ENTREPOT_LIFECYCLE_KEYS", "ecr")
    said = refused("lifecycle", "set", "acme/app", write_policy(tmp_path / "policy.json", UNUSED_GO))
    assert "rule 3: object instance has properties which are not allowed" in said
    assert "ENTREPOT_LIFECYCLE_KEYS=ecr" in said
    done("lifecycle", "set", "acme/app", write_policy(tmp_path / "policy.json", UNTAGGED_GO))


def test_what_is_not_there_is_refused(policy: str, tmp_path: Path) -> None:
    """Files, repositories."""
    assert "cannot be read: No such file" in refused("lifecycle", "set", "acme/app", str(tmp_path / "none.json"))
    assert "there is no repository acme/none" in refused("lifecycle", "set", "acme/none", policy)
    assert "there is no repository acme/none" in refused("lifecycle", "preview", "acme/none")


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--diff"], "--policy FILE"),
        (["--at", "tomorrow"], "or a duration from now such as 30d"),
        (["--at", "2020-01-01"], "has gone"),
    ],
)
def test_wrong_questions_are_wrong_usage(options: list[str], said: str) -> None:
    """Exit status 2, and what to ask in its place."""
    outcome = entrepot("lifecycle", "preview", "acme/app", *options)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert said in " ".join(outcome.stderr.replace("│", " ").split())


SUITE = {
    "policy": "policy.json",
    "tests": [
        {
            "name": "releases stay",
            "images": [
                {"tags": ["v1"], "pushed": "300d"},
                {"tags": ["v2"], "pushed": "200d"},
                {"tags": ["v3"], "pushed": "100d"},
            ],
            "expect": {"v2": "kept", "*": "kept"},
        },
        {
            "name": "what nobody pulls goes",
            "images": [{"tags": ["build"], "pushed": "300d"}],
            "expect": {"build": {"verdict": "expired", "rule": 3}},
        },
    ],
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A test of a policy beside it, one of whose expectations is not met."""
    write_policy(tmp_path / "policy.json", *RULES)
    path = tmp_path / "app.test.json"
    path.write_text(json.dumps(SUITE))
    return path


def test_what_is_not_as_expected_fails(suite: Path) -> None:
    """Exit status 1 with test, image, both verdicts and the reason; no registry is needed."""
    outcome = entrepot("lifecycle", "test", str(suite))
    assert (outcome.status, outcome.stderr) == (1, "")
    header, row, summary = outcome.stdout.splitlines()
    assert header.split() == ["FILE", "TEST", "IMAGE", "EXPECTED", "ACTUAL", "REASON"]
    assert "releases stay  v1     kept      expired by rule 3  rule 3 expires images not pulled" in row
    assert summary == f"{suite}: 2 tests, 4 expectations: 1 not met"


def test_what_is_as_expected_is_counted(suite: Path) -> None:
    """Exit status 0; several files are tested in one go."""
    suite.write_text(json.dumps({**SUITE, "tests": SUITE["tests"][1:]}))
    assert done("lifecycle", "test", str(suite), str(suite)) == 2 * f"{suite}: 1 test, 1 expectation: all are met\n"


def test_a_test_can_come_from_standard_input() -> None:
    """With its policy inside."""
    document = {"policy": {"rules": [UNUSED_GO]}, "images": [{"tags": ["v1"], "pushed": "91d"}]}
    text = json.dumps({**document, "expect": {"v1": "expired"}}).encode()
    assert done("lifecycle", "test", "-", stdin=text) == "standard input: 1 test, 1 expectation: all are met\n"


def test_outcomes_of_tests_in_json(suite: Path) -> None:
    """Every expectation, met or not."""
    outcome = entrepot("lifecycle", "test", "--json", str(suite))
    assert outcome.status == 1
    document = json.loads(outcome.stdout)
    assert document["failed"] == 1
    (file,) = document["files"]
    assert (file["file"], file["policy"]) == (str(suite), str(suite.with_name("policy.json")))
    found = {(test["name"], each["image"]): each["met"] for test in file["tests"] for each in test["expectations"]}
    assert found == {
        ("releases stay", "v2"): True,
        ("releases stay", "v1"): False,
        ("releases stay", "v3"): True,
        ("what nobody pulls goes", "build"): True,
    }


def test_tests_that_are_none_are_refused(suite: Path) -> None:
    """With the file's name, whether the test or its policy is wrong."""
    assert f"{suite}.none cannot be read" in refused("lifecycle", "test", f"{suite}.none")
    assert f"{suite} is no test of a policy: it is not JSON" in _refused_with(suite, "{")
    assert "policy.jsn cannot be read" in _refused_with(suite, json.dumps({**SUITE, "policy": "policy.jsn"}))
    said = _refused_with(suite, json.dumps({**SUITE, "policy": {"rules": []}}))
    assert f"the policy in {suite} is no policy: array is too short" in said


def _refused_with(suite: Path, text: str) -> str:
    suite.write_text(text)
    return refused("lifecycle", "test", str(suite))

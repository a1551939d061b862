"""`entrepot lifecycle` run, apply, runs and undo."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cli.access import audited, done, refused
from tests.cli.aged import Aged, fill_aged
from tests.cli.policies import (
    ALL_BUT_ONE_GO,
    APP,
    MANY,
    PULL_REQUEST_TAGS_GO,
    RELEASES_STAY,
    UNTAGGED_GO,
    UNUSED_GO,
    write_policy,
)
from tests.cli.running import Terminal, entrepot, program

NOTHING = "0 policies looked at: 0 images removed, 0 B to become free\n"


@pytest.fixture
def app(data: Path, tmp_path: Path) -> dict[str, str]:
    """acme/app, of whose five images two and a tag go. Returns the digests by note."""
    digests = fill_aged(data, APP)
    file = write_policy(tmp_path / "app.json", RELEASES_STAY, UNTAGGED_GO, UNUSED_GO, PULL_REQUEST_TAGS_GO)
    done("lifecycle", "set", "acme/app", file)
    return digests


@pytest.fixture
def braked(data: Path, tmp_path: Path) -> dict[str, str]:
    """acme/many, of whose twelve images eleven would go. Returns the digests by note."""
    digests = fill_aged(data, MANY, "acme/many")
    done("lifecycle", "set", "acme/many", write_policy(tmp_path / "many.json", ALL_BUT_ONE_GO))
    return digests


def tags(repository: str) -> set[str]:
    return {each["tag"] for each in json.loads(done("tag", "list", repository, "--json"))["tags"]}


def manifests(repository: str) -> int:
    return int(json.loads(done("repository", "show", repository, "--json"))["manifests"])


def runs(*options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done("lifecycle", "runs", "--json", *options))["runs"]
    return found


@pytest.mark.usefixtures("app")
def test_a_run_removes_what_the_policy_says() -> None:
    """One line for the repository and one that sums up; what is due next time is less."""
    outcome = entrepot("lifecycle", "run")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == (
        "run 1: acme/app: 2 images and 1 tag removed, 20.9 KiB to become free\n"
        "1 policy looked at: 2 images and 1 tag removed, 20.9 KiB to become free\n"
    )
    assert (tags("acme/app"), manifests("acme/app")) == ({"v1.1", "v1.2", "main"}, 3)
    again = "1 policy looked at: 0 images removed, 0 B to become free\n"  # the run itself has changed the repository
    assert done("lifecycle", "run") == again
    assert done("lifecycle", "run") == NOTHING


def test_a_run_without_policies_is_done(data: Path) -> None:
    """It says so in its one line."""
    fill_aged(data, APP[:1])
    assert done("lifecycle", "run") == NOTHING


def test_a_run_of_one_repository(app: dict[str, str], braked: dict[str, str]) -> None:
    """Leaves the others alone, and wants a policy."""
    assert app
    assert braked
    assert done("lifecycle", "run", "--repository", "acme/app").startswith("run 1: acme/app: 2 images")
    assert manifests("acme/many") == 12
    assert "no lifecycle policy" in _refused_after_removal("acme/app")
    assert "there is no repository acme/none" in refused("lifecycle", "run", "--repository", "acme/none")


def _refused_after_removal(repository: str) -> str:
    done("lifecycle", "remove", repository)
    return refused("lifecycle", "run", "--repository", repository)


@pytest.mark.usefixtures("app", "braked")
def test_the_brake_stops_one_run_and_no_other() -> None:
    """Exit status 1, and the command that goes on; the others are applied."""
    outcome = entrepot("lifecycle", "run")
    assert outcome.status == 1
    lines = outcome.stdout.splitlines()
    number = next(each["run"] for each in runs() if each["status"] == "stopped")
    assert f"run {number}: acme/many: stopped, it would remove 11 of 12 images" in lines
    assert lines[-1] == (
        "2 policies looked at: 2 images and 1 tag removed, 20.9 KiB to become free; 1 run stopped by the brake"
    )
    assert outcome.stderr == (
        f"The brake has stopped run {number}. If it is meant: entrepot lifecycle apply {number}\n"
    )
    assert (manifests("acme/app"), manifests("acme/many")) == (3, 12)
    assert done("lifecycle", "apply", str(number)).startswith(f"run {number}: acme/many: 11 images removed, ")
    assert tags("acme/many") == {"build-11"}
    assert f"run {number}" in refused("lifecycle", "apply", str(number))


@pytest.mark.usefixtures("braked")
def test_what_changed_since_a_run_was_stopped_survives(data: Path, tmp_path: Path) -> None:
    """A tag that was pushed between the stop and `apply` stays; with another policy `apply` is refused."""
    assert entrepot("lifecycle", "run").status == 1
    fill_aged(data, [Aged("build 3", 0, ["wanted"])], "acme/many")
    said = done("lifecycle", "apply", "1")
    assert said.startswith("run 1: acme/many: 10 images removed")
    assert said.endswith("; 1 kept, because it changed since the plan\n")
    (row,) = (line for line in done("lifecycle", "runs", "1").splitlines() if line.startswith("changed"))
    assert row.endswith("  kept: changed since the plan")
    assert {"wanted", "build-3"} <= tags("acme/many")
    fill_aged(data, [Aged(f"late {number}", 20 - number, [f"late-{number}"]) for number in range(12)], "acme/many")
    assert entrepot("lifecycle", "run").status == 1
    done("lifecycle", "set", "acme/many", write_policy(tmp_path / "other.json", UNTAGGED_GO))
    assert "entrepot lifecycle run --repository acme/many" in refused("lifecycle", "apply", str(runs()[0]["run"]))


@pytest.mark.usefixtures("app", "braked")
def test_a_dry_run_changes_nothing() -> None:
    """It says what would be removed, and what the brake would stop, as often as it is asked."""
    for _ in range(2):
        said = done("lifecycle", "run", "--dry-run").splitlines()
        assert "acme/app: 2 of 5 images and 1 tag would go, 20.9 KiB would become free 7 days later" in said
        assert any(line.startswith("acme/many: 11 of 12") and line.endswith("brake would stop it") for line in said)
        assert said[-1].startswith("2 policies looked at: 13 images and 1 tag would be removed, ")
    document = json.loads(done("lifecycle", "run", "--dry-run", "--json"))
    assert {each["repository"]: each["would_stop"] for each in document["plans"]} == {
        "acme/app": False,
        "acme/many": True,
    }
    assert (runs(), manifests("acme/app")) == ([], 5)


@pytest.mark.usefixtures("app", "braked")
def test_a_round_in_json() -> None:
    """Sums, each run, and which were stopped; the exit status is the same."""
    outcome = entrepot("lifecycle", "run", "--json")
    assert outcome.status == 1
    document = json.loads(outcome.stdout)
    assert (document["policies"], document["removed_images"], document["removed_tags"]) == (2, 2, 1)
    found = {each["repository"]: each for each in document["runs"]}
    assert document["stopped"] == [found["acme/many"]["run"]]
    assert (found["acme/app"]["status"], found["acme/app"]["freed_bytes"]) == ("applied", document["freed_bytes"])
    assert (found["acme/many"]["removed_images"], found["acme/many"]["not_taken"]) == (0, 11)
    assert document["failed"] == []


@pytest.mark.usefixtures("app", "braked")
def test_what_fails_in_one_repository_fails_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that is refused by now is told, with its repository; exit status 1."""
    monkeypatch.setenv("ENTREPOT_LIFECYCLE_KEYS", "ecr")
    monkeypatch.setenv("ENTREPOT_BRAKE_PERCENT", "100")
    outcome = entrepot("lifecycle", "run")
    assert outcome.status == 1
    assert outcome.stdout.splitlines()[-1].endswith("; 1 failed")
    assert outcome.stderr.startswith("acme/app: rule 1: ")
    assert (manifests("acme/app"), manifests("acme/many")) == (5, 1)
    (failed,) = json.loads(entrepot("lifecycle", "run", "--json", "--repository", "acme/app").stdout)["failed"]
    assert failed["repository"] == "acme/app"


def listed() -> dict[int, tuple[str, str, str]]:
    """Of each run its status, and the images and the tags that its row has."""
    rows = (re.split(r" {2,}", line.strip()) for line in done("lifecycle", "runs").splitlines()[1:])
    return {int(row[0]): (row[4], row[5], row[6]) for row in rows}


@pytest.mark.usefixtures("app", "braked")
def test_the_list_says_how_much_a_run_was_about(tmp_path: Path) -> None:
    """Of how many images one that has not finished was to remove some, and how many an undo restored."""
    assert entrepot("lifecycle", "run").status == 1
    numbers = {each["repository"]: each["run"] for each in runs()}
    app, many = numbers["acme/app"], numbers["acme/many"]
    assert listed() == {app: ("applied", "2", "1"), many: ("stopped", "0 of 11", "0")}
    done("lifecycle", "undo", str(app))
    done("lifecycle", "set", "acme/many", write_policy(tmp_path / "other.json", UNTAGGED_GO))
    done("lifecycle", "run", "--repository", "acme/many")
    assert listed() == {app: ("undone", "2 restored", "1 restored"), many: ("superseded", "0 of 11", "0")}
    assert done("lifecycle", "runs", str(app)).endswith(f"run {app}: acme/app: 2 images and 1 tag restored\n")
    found = {each["run"]: each for each in runs()}
    assert (found[app]["restored_images"], found[app]["restored_tags"]) == (2, 1)
    assert (found[many]["planned_images"], found[many]["planned_tags"], found[many]["images"]) == (11, 0, 12)


@pytest.mark.usefixtures("braked")
def test_what_is_kept_says_why() -> None:
    """What was protected since the plan was made is not removed, and row and sum say so in words."""
    assert entrepot("lifecycle", "run").status == 1
    done("repository", "set", "acme/many", "protect=build-3,build-4")
    said = done("lifecycle", "apply", "1")
    assert said.endswith("; 2 kept, because they are protected or needed, or the policy takes them no more\n")
    rows = [line for line in done("lifecycle", "runs", "1").splitlines() if line.startswith("held")]
    why = "kept: protected, or an index or subject needs it, or the policy takes it no more"
    assert [(row.split()[1], row.endswith(f"  {why}")) for row in rows] == [("build-3", True), ("build-4", True)]
    assert json.loads(done("lifecycle", "runs", "1", "--json"))["steps"][3]["reason"].startswith("rule 1 expires")


def test_an_undo_of_nothing_leaves_the_run(data: Path, tmp_path: Path) -> None:
    """Exit status 1, and what was lost and why; it is undone when something has come back."""
    digests = fill_aged(data, APP)
    done("lifecycle", "set", "acme/app", write_policy(tmp_path / "policy.json", PULL_REQUEST_TAGS_GO))
    done("lifecycle", "run")
    done("manifest", "delete", "acme/app", digests["new release"])
    outcome = entrepot("lifecycle", "undo", "1")
    assert (outcome.status, outcome.stdout) == (1, "run 1: acme/app: nothing restored, and the run stays applied\n")
    assert outcome.stderr == "the tag pr-7 did not come back: its manifest was deleted since\n"
    assert listed() == {1: ("applied", "0", "1")}
    done("manifest", "restore", "acme/app", digests["new release"])
    done("lifecycle", "undo", "1")
    assert listed() == {1: ("undone", "0", "1 restored")}


@pytest.mark.usefixtures("braked")
def test_runs_are_in_the_audit_log() -> None:
    """Each time one is stopped, applied or undone, with how much; and who has set how many rules."""
    entrepot("lifecycle", "run")
    done("lifecycle", "apply", "1")
    done("lifecycle", "undo", "1")
    assert [(line["action"], line["detail"]) for line in audited("--action", "lifecycle.")] == [
        (f"lifecycle.{verb}", "run 1: 11 images") for verb in ("stop", "apply", "undo")
    ]
    assert [line["detail"] for line in audited("--action", "policy.")] == ["1 rule"]


def test_runs_are_listed_and_shown(app: dict[str, str], braked: dict[str, str]) -> None:
    """The latest first; of one every step with its rule, its reason and what became of it."""
    assert braked
    entrepot("lifecycle", "run")
    header, *rows = done("lifecycle", "runs").splitlines()
    assert header.split() == [
        "RUN",
        "REPOSITORY",
        "PLANNED",
        "AT",
        "PLANNED",
        "BY",
        "STATUS",
        "IMAGES",
        "TAGS",
        "FREED",
    ]
    assert [row.split()[0] for row in rows] == ["2", "1"]
    (listed,) = runs("--repository", "acme/app")
    assert listed["status"] == "applied"
    assert [each["run"] for each in runs("--limit", "1")] == [2]
    header, *rows, history, summary = done("lifecycle", "runs", str(listed["run"])).splitlines()
    assert header.split() == ["OUTCOME", "IMAGE", "TAKES", "RULE", "FREED", "AT", "REASON"]
    assert [row.split()[:4] for row in rows] == [
        ["done", "v1.0", "image", "3"],
        ["done", app["old main"][:19], "image", "2"],
        ["done", "pr-7", "tag", "4"],
    ]
    assert "rule 2 expires images without a tag pushed more than 7 days ago" in rows[1]
    assert history.startswith(f"run {listed['run']}: acme/app: planned at 20")
    assert ", applied at 20" in history
    assert summary == f"run {listed['run']}: acme/app: 2 images and 1 tag removed, 20.9 KiB to become free"


def test_a_run_in_json_has_its_policy_and_its_steps(app: dict[str, str]) -> None:
    """Who, when, which rule, what."""
    done("lifecycle", "run")
    document = json.loads(done("lifecycle", "runs", "1", "--json"))
    assert document["policy"]["rules"][0] == RELEASES_STAY
    assert document["planned_by"].startswith("cli:")
    first = document["steps"][0]
    assert (first["digest"], first["tags"], first["outcome"], first["rule"]) == (
        app["old release"],
        ["v1.0"],
        "done",
        3,
    )


@pytest.mark.usefixtures("braked")
def test_a_stopped_run_says_how_it_goes_on() -> None:
    """Also when it is shown later; the next round stops again, and makes no second run of the same plan."""
    for _ in range(2):
        assert entrepot("lifecycle", "run").status == 1
    outcome = entrepot("lifecycle", "runs", "1")
    assert "planned  build-0" in outcome.stdout
    assert outcome.stderr == "The brake has stopped it. If it is meant: entrepot lifecycle apply 1\n"
    assert [each["run"] for each in runs()] == [1]


def test_a_run_is_undone(app: dict[str, str]) -> None:
    """Images, also those without tags, and tags come back; the policy that took them is named."""
    before = tags("acme/app")
    done("lifecycle", "run")
    outcome = entrepot("lifecycle", "undo", "1")
    assert (outcome.status, outcome.stdout) == (0, "run 1: acme/app: 2 images and 1 tag restored\n")
    assert outcome.stderr.startswith("acme/app still has the policy that removed them: ")
    assert (tags("acme/app"), manifests("acme/app")) == (before, 5)
    assert runs()[0]["undone"] == 3
    assert app["old main"] in json.dumps(json.loads(done("lifecycle", "preview", "acme/app", "--json")))
    assert "run 1 is undone" in refused("lifecycle", "undo", "1")


@pytest.mark.usefixtures("app")
def test_what_cannot_come_back_is_told(data: Path) -> None:
    """A tag that points elsewhere by now stays so; exit status 1."""
    done("lifecycle", "run")
    done("lifecycle", "remove", "acme/app")
    fill_aged(data, [Aged("other", 0, ["v1.0"])])
    outcome = entrepot("lifecycle", "undo", "1")
    assert (outcome.status, outcome.stdout) == (1, "run 1: acme/app: 2 images and 1 tag restored\n")
    assert outcome.stderr.startswith("the tag v1.0 did not come back: it points to sha256:")
    assert manifests("acme/app") == 6


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("command", ["apply", "undo", "runs"])
def test_a_run_that_is_not_there(command: str) -> None:
    """Is refused, and where the numbers are is told; what is no number is wrong usage."""
    assert refused("lifecycle", command, "7") == "there is no run 7: `entrepot lifecycle runs` shows those there are"
    assert entrepot("lifecycle", command, "first").status == 2
    assert entrepot("lifecycle", command, "0").status == 2


@pytest.mark.usefixtures("braked")
def test_two_rounds_at_once(data: Path) -> None:
    """Each removes what the other has not, and together they remove everything once."""
    settings = {"ENTREPOT_DATA": str(data), "ENTREPOT_BRAKE_PERCENT": "100"}
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda _: program("lifecycle", "run", "--json", **settings), range(2)))
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes
    assert sum(json.loads(outcome.stdout)["removed_images"] for outcome in outcomes) >= 11
    assert manifests("acme/many") == 1
    assert sum(each["removed_images"] for each in runs()) == 11


@pytest.mark.usefixtures("app")
def test_progress_is_shown_on_a_terminal(data: Path) -> None:
    """And nowhere else: there is a bar, which is gone when the round is over."""
    with Terminal("lifecycle", "run", ENTREPOT_DATA=str(data)) as terminal:
        terminal.expect("Removing images of acme/app")
        terminal.expect("1 policy looked at: 2 images and 1 tag removed")
        assert terminal.wait() == 0

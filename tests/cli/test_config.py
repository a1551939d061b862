"""`entrepot config show`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from registry.config import Config
from tests.cli.running import Outcome, entrepot
from tests.places import only_on


def test_each_value_has_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, file, environment and flag are told apart, the last of them that speaks wins."""
    file = tmp_path / "entrepot.toml"
    file.write_text('host = "127.0.0.2"\nport = 1\nsparse_manifests = "index"\n')
    monkeypatch.setenv("ENTREPOT_PORT", "2")
    monkeypatch.setenv("ENTREPOT_HOST", "127.0.0.3")
    shown = settings(entrepot("config", "show", "--config", str(file), "--host", "127.0.0.4", "--json"))
    assert (shown["sparse_manifests"]["value"], shown["sparse_manifests"]["origin"]) == ("index", "file")
    assert (shown["port"]["value"], shown["port"]["origin"]) == (2, "environment")
    assert (shown["host"]["value"], shown["host"]["origin"]) == ("127.0.0.4", "flag")
    assert (shown["workers"]["value"], shown["workers"]["origin"]) == (1, "default")


def test_every_setting_is_there_with_its_meaning() -> None:
    """The document has all settings, each with a description."""
    shown = settings(entrepot("config", "show", "--json"))
    assert set(shown) == set(Config.model_fields)
    assert all(each["description"] for each in shown.values())


@only_on("sqlite", "the place of its file")
@only_on("files", "the place of their folder")
def test_places_are_shown_as_they_will_be_used(data: Path) -> None:
    """What follows from the data directory is shown, as absolute paths."""
    shown = settings(entrepot("config", "show", "--json"))
    assert shown["data"]["value"] == str(data)
    assert shown["storage"]["value"] == f"file://{data}/blobs"
    assert shown["database"]["value"] == f"sqlite:///{data}/entrepot.db"


def test_seconds_are_shown_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole seconds have no decimal place, in JSON too; others keep theirs."""
    assert re.search(r"^body_idle_seconds +60  ", entrepot("config", "show").stdout, re.MULTILINE)
    assert '"value": 60,' in entrepot("config", "show", "--json").stdout
    monkeypatch.setenv("ENTREPOT_BODY_IDLE_SECONDS", "0.5")
    assert settings(entrepot("config", "show", "--json"))["body_idle_seconds"]["value"] == 0.5


def test_the_table_names_the_variables(data: Path) -> None:
    """A line has the setting, its value, its origin and how the environment spells it."""
    lines = entrepot("config", "show").stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "ORIGIN", "IN", "THE", "ENVIRONMENT"]
    assert lines[1].split() == ["data", str(data), "environment", "ENTREPOT_DATA"]


def test_a_file_named_by_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENTREPOT_CONFIG is the default of --config."""
    file = tmp_path / "entrepot.toml"
    file.write_text("port = 1\n")
    monkeypatch.setenv("ENTREPOT_CONFIG", str(file))
    shown = settings(entrepot("config", "show", "--json"))
    assert (shown["port"]["value"], shown["port"]["origin"]) == (1, "file")


def test_an_unknown_setting_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 1, and the message names the setting that was meant."""
    monkeypatch.setenv("ENTREPOT_PROT", "5001")
    outcome = entrepot("config", "show")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == "entrepot: ENTREPOT_PROT is an unknown setting: did you mean ENTREPOT_PORT?\n"


def settings(outcome: Outcome) -> dict[str, dict[str, Any]]:
    assert outcome.status == 0, outcome.stderr
    return {each["name"]: each for each in json.loads(outcome.stdout)["settings"]}

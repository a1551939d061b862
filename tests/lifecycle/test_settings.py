"""The settings of one repository, as texts that somebody wrote."""

import json
import string

import pytest

from registry.lifecycle.claims import DAY
from registry.lifecycle.settings import RepositorySettings, SettingInvalid


@pytest.mark.parametrize("name", ["protect", "exclude"])
@pytest.mark.parametrize("character", ["/", "[", "?", "^", "$", "\\", ":", "@", " ", "\n", "ä", "٣", "\U0001f600"])
def test_characters_that_no_tag_has(name: str, character: str) -> None:
    """A pattern with one would match nothing for ever: it is refused, and the character named."""
    with pytest.raises(SettingInvalid) as problem:
        RepositorySettings().changed({name: f"v*, a{character}b"})
    assert str(problem.value).startswith(f"{name} has {character!r} in the pattern ")


def test_characters_that_tags_have() -> None:
    """All of them may be in a pattern, with stars; blanks around a pattern do not count."""
    characters = f"{string.ascii_letters}{string.digits}_.-"
    settings = RepositorySettings().changed({"protect": f" {characters}* , *-rc.1 ,"})
    assert settings.describe() == {"protect": f"{characters}*,*-rc.1"}


def test_what_is_stored_is_read() -> None:
    """Settings that are older than the refusal of such patterns still hold, and others of them can be changed."""
    stored = RepositorySettings.load(json.dumps({"protect": "v*,release/*"}))
    assert stored.is_protected("v1")
    changed = stored.changed({"undelete_days": "3"})
    assert changed.describe() == {"protect": "v*,release/*", "undelete_days": "3"}
    assert RepositorySettings.load(changed.dump()) == changed


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("imutability", "did you mean immutability?"),
        ("brake_percents", "did you mean brake_percent?"),
        ("color", "there are immutability, exclude, protect, undelete_days, brake_percent"),
    ],
)
def test_an_unknown_setting(name: str, said: str) -> None:
    """The message says what may have been meant, or what there is."""
    with pytest.raises(SettingInvalid, match=f"{name} is no setting of a repository: ") as problem:
        RepositorySettings().changed({name: "1"})
    assert str(problem.value).endswith(said)


def test_the_window_ends() -> None:
    """By the repository's own days, or else by the registry's."""
    assert RepositorySettings().end_window(5, 7) == 5 + 7 * DAY
    assert RepositorySettings(undelete_days=2).end_window(5, 7) == 5 + 2 * DAY
    assert RepositorySettings(undelete_days=0).end_window(5, 7) == 5

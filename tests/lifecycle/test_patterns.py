"""Patterns of a policy against the meaning of `*`, written a second time as a search through all places."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.lifecycle.patterns import Pattern, PatternInvalid


def is_match(pattern: str, text: str) -> bool:
    """Whether the pattern matches, tried letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(is_match(pattern[1:], text[place:]) for place in range(len(text) + 1))
    return text[:1] == pattern[0] and is_match(pattern[1:], text[1:])


@given(st.from_regex(r"[ab.]*(\*[ab.]*){0,4}", fullmatch=True).filter(bool), st.text("ab.*", max_size=9))
@example("a*a", "a")
@example("ab*ba", "aba")
@example("*", "")
@example("*a*a*", "aba")
def test_pattern_matches_as_letters_say(pattern: str, text: str) -> None:
    """A star is any text, all else is itself, and the whole text counts."""
    assert Pattern.parse(pattern).is_match(text) == is_match(pattern, text)


@given(st.text("ab*", max_size=4), st.text("ab*", max_size=6))
def test_prefix_is_plain_text(prefix: str, text: str) -> None:
    """A prefix is no pattern: its stars are stars."""
    assert Pattern.prefix(prefix).is_match(text) == text.startswith(prefix)


@pytest.mark.parametrize("pattern", ["[ab]", "a?", "a\\b", "(a|b)", "^a$", "a.b", "%", "\u00e4\U0001f600"])
def test_only_the_star_is_special(pattern: str) -> None:
    """Every other character matches itself and nothing else."""
    assert Pattern.parse(pattern).is_match(pattern)
    assert not Pattern.parse(pattern).is_match("a")
    assert not Pattern.parse(pattern).is_match("axb")


@pytest.mark.parametrize("pattern", ["", "*a*b*c*d*", "*****"])
def test_pattern_is_refused(pattern: str) -> None:
    """Nothing at all, and more than four stars."""
    with pytest.raises(PatternInvalid):
        Pattern.parse(pattern)


def test_four_stars_are_fine() -> None:
    """The examples of ECR's guide."""
    assert Pattern.parse("*test*1*2*3").is_match("a-test-1-2-3")
    assert Pattern.parse("test*1*2*3*").is_match("test123")

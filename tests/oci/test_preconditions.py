"""Entity tags and preconditions, as RFC 9110 has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.oci.preconditions import NO_PRECONDITIONS, EntityTags, Preconditions, parse_entity_tags

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("*", "*"),
        (" * ", "*"),
        (f'"{A}"', {A}),
        (f'W/"{A}"', {A}),
        (f'"{A}", "{B}"', {A, B}),
        (f'"{A}","{B}" , W/"c"', {A, B, "c"}),
        (f'"{A}",, "{B}",', {A, B}),
        ('""', {""}),
        ("", set()),
        (A, set()),
        (f'"{A}', set()),
        (f'w/"{A}"', set()),
        (f'"*", "{A}"', {"*", A}),
        (f'*, "{A}"', {A}),
        ('"a b"', set()),
        ('"a\n"', set()),
    ],
)
def test_entity_tags(text: str, tags: set[str] | str) -> None:
    """A list of entity tags is read; what is none matches nothing; `*` stands alone."""
    assert parse_entity_tags(text) == tags


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """No header raises."""
    tags = parse_entity_tags(text)
    assert tags == "*" or all(f'"{tag}"' in text for tag in tags)
    strong = parse_entity_tags(text, is_strong=True)
    assert strong == "*" == tags or (strong != "*" and tags != "*" and strong <= tags)


@pytest.mark.parametrize(
    ("text", "tags"),
    [("*", "*"), (f'"{A}"', {A}), (f'W/"{A}"', set()), (f'W/"{A}", "{B}"', {B}), (f'"W/{A}"', {f"W/{A}"})],
)
def test_strong_comparison(text: str, tags: set[str] | str) -> None:
    """If-Match compares strongly: a weak tag matches nothing."""
    assert parse_entity_tags(text, is_strong=True) == tags


ANY: EntityTags = "*"
TAG_A, TAG_B, NOTHING = frozenset({A}), frozenset({B}), frozenset[str]()


@pytest.mark.parametrize(
    ("preconditions", "with_a", "without"),
    [
        (NO_PRECONDITIONS, True, True),
        (Preconditions(if_match=TAG_A), True, False),
        (Preconditions(if_match=TAG_B), False, False),
        (Preconditions(if_match=TAG_A | TAG_B), True, False),
        (Preconditions(if_match=ANY), True, False),
        (Preconditions(if_match=NOTHING), False, False),
        (Preconditions(if_none_match=ANY), False, True),
        (Preconditions(if_none_match=TAG_A), False, True),
        (Preconditions(if_none_match=TAG_B), True, True),
        (Preconditions(if_none_match=NOTHING), True, True),
        (Preconditions(if_match=TAG_A, if_none_match=TAG_A), False, False),
        (Preconditions(if_match=TAG_A, if_none_match=TAG_B), True, False),
        (Preconditions(if_match=ANY, if_none_match=ANY), False, False),
    ],
)
def test_preconditions(preconditions: Preconditions, with_a: bool, without: bool) -> None:
    """Whether a request may go on where the target is A, and where there is no target."""
    assert preconditions.hold(A) == with_a
    assert preconditions.hold(None) == without


def test_if_match_alone() -> None:
    """A read asks for If-Match first: it fails before If-None-Match can answer 304."""
    assert Preconditions(if_match=TAG_A, if_none_match=TAG_A).allow_match(A)
    assert not Preconditions(if_match=TAG_B, if_none_match=TAG_A).allow_match(A)

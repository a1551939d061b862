"""The pure decision about access: globs, grants, tag patterns and scopes, against an oracle and their laws."""

import re
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.access.globs import ClaimGlob, Glob, PatternInvalid, RepositoryGlob, TagGlob
from registry.access.grants import GRANTABLE, Action, ActionsInvalid, Grant, Permission, decide, parse_actions
from registry.access.scopes import MOST_SCOPES, Scopes, grant_scopes, parse_scopes, show_actions, show_scopes
from registry.oci.names import RepositoryName, Tag

NAMES = st.lists(st.sampled_from(["acme", "app", "a", "b", "acme-evil", "x.y"]), min_size=1, max_size=4).map("/".join)
TAGS = st.sampled_from(["ci-1", "ci-", "ci", "v1", "xci-1", "latest", "1.0"])
TEXTS = st.text("ab/:", max_size=12)
PATTERNS = st.lists(st.sampled_from(["a", "b", "/", ":", "*", "**", "ab"]), min_size=1, max_size=8).map("".join)
REPOSITORY_PATTERNS = st.lists(
    st.sampled_from(["acme", "app", "a", "*", "**", "a*", "*p", "acme*"]), min_size=1, max_size=4
).map("/".join)
GRANTS = st.builds(
    Grant,
    REPOSITORY_PATTERNS.map(RepositoryGlob.parse),
    st.frozensets(st.sampled_from(GRANTABLE), min_size=1),
    st.lists(st.sampled_from(["ci-*", "v*", "latest", "*"]).map(TagGlob.parse), max_size=2).map(tuple),
)


def oracle(pattern: str, text: str, separators: str) -> bool:
    """What a pattern means, as a naive regular expression."""
    meaning = {"**": r"[\s\S]*", "*": f"[^{re.escape(separators)}]*"}
    parts = (meaning.get(part, re.escape(part)) for part in re.split(r"(\*+)", pattern))
    return re.fullmatch("".join(parts), text) is not None


def parsed(kind: type[Glob], pattern: str) -> Glob | None:
    try:
        return kind.parse(pattern)
    except PatternInvalid:
        return None


@given(PATTERNS, TEXTS)
def test_claim_globs(pattern: str, text: str) -> None:
    """A claim's pattern means what the oracle says; `*` stops at `/` and at `:`."""
    glob = parsed(ClaimGlob, pattern)
    assert glob is None or glob.is_match(text) == oracle(pattern, text, "/:")


@given(REPOSITORY_PATTERNS, NAMES)
def test_repository_globs(pattern: str, name: str) -> None:
    """A repository's pattern means what the oracle says; `*` stops at `/`."""
    assert RepositoryGlob.parse(pattern).matches(RepositoryName(name)) == oracle(pattern, name, "/")


@given(st.text("abc.-/", min_size=1, max_size=20), st.text("abc.-/", max_size=20))
def test_literal_globs(pattern: str, text: str) -> None:
    """Without stars a pattern matches itself and nothing else: no character has another meaning."""
    assert Glob.parse(pattern).is_match(text) == (pattern == text)
    assert Glob.parse(pattern).is_match(pattern)


@given(NAMES, NAMES)
def test_a_star_is_one_part(above: str, below: str) -> None:
    """`above/*` is what lies right below, `above/**` all that lies below, and neither is a namesake or itself."""
    one, several = RepositoryGlob.parse(f"{above}/*"), RepositoryGlob.parse(f"{above}/**")
    name = RepositoryName(f"{above}/{below}")
    assert one.matches(name) == ("/" not in below)
    assert several.matches(name)
    for other in (above, f"{above}-evil/app", f"evil/{above}/app", f"{above}x"):
        assert not one.matches(RepositoryName(other))
        assert not several.matches(RepositoryName(other))


@pytest.mark.parametrize(
    "pattern", ["", "a//b", "/a", "a/", "***", "A", "a b", "a\n", "é", "a:b", "a" * 257, "*a" * 9, "a?", "[a]", "a,b"]
)
def test_what_is_no_repository_pattern(pattern: str) -> None:
    """Refused when it is written, not when it is matched."""
    with pytest.raises(PatternInvalid):
        RepositoryGlob.parse(pattern)


@pytest.mark.parametrize("stars", ["*", "**"])
def test_hostile_patterns(stars: str) -> None:
    """Eight stars against what nearly matches take milliseconds: a backtracking matcher would take years."""
    glob = ClaimGlob.parse("".join(f"{stars}a" for _ in range(8)) + "b")
    begun = time.process_time()
    assert not glob.is_match("a" * 2_000)
    assert time.process_time() - begun < 2


@given(st.lists(GRANTS, max_size=4), GRANTS, NAMES, TAGS)
def test_decide_is_monotone(grants: list[Grant], more: Grant, name: str, text: str) -> None:
    """Another grant never takes a right away, and their order means nothing."""
    repository, tag = RepositoryName(name), Tag(text)
    before = rights(decide(grants, repository), tag)
    assert before <= rights(decide([*grants, more], repository), tag)
    assert before == rights(decide(reversed(grants), repository), tag)
    assert before | rights(decide([more], repository), tag) == rights(decide([more, *grants], repository), tag)


@given(GRANTS, NAMES, TAGS)
def test_a_grant_is_for_its_names(grant: Grant, name: str, text: str) -> None:
    """Where its pattern does not match, a grant gives nothing, not even the knowledge of what is there."""
    permission = decide([grant], RepositoryName(name))
    is_match = oracle(grant.repositories.text, name, "/")
    assert permission.is_empty != is_match
    assert is_match or not rights(permission, Tag(text))


def rights(permission: Permission, tag: Tag) -> set[str]:
    can = {action.value for action in GRANTABLE if permission.allows(action)}
    tagged = {"create": permission.may_create(tag), "move": permission.may_move(tag), "rm": permission.may_delete(tag)}
    return can | {f"{what} tag" for what, may in tagged.items() if may}


@given(GRANTS, TAGS)
def test_tag_patterns(grant: Grant, text: str) -> None:
    """Tags are set, moved and deleted within the patterns alone; without any everywhere; and only with the action."""
    permission, tag = Permission((grant,)), Tag(text)
    is_match = not grant.tags or any(oracle(glob.text, text, "/") for glob in grant.tags)
    can = set(grant.actions) | ({Action.CREATE} if Action.PUSH in grant.actions else set())
    can = set(GRANTABLE) if Action.ADMIN in grant.actions else can
    assert permission.may_create(tag) == (is_match and Action.CREATE in can)
    assert permission.may_move(tag) == (is_match and Action.PUSH in can)
    assert permission.may_delete(tag) == (is_match and Action.DELETE in can)


def test_two_grants_do_not_mix() -> None:
    """A pattern of one grant does not widen the actions of another."""
    permission = Permission((Grant.parse("a", "push", "ci-*"), Grant.parse("a", "create"), Grant.parse("a", "pull")))
    assert permission.may_move(Tag("ci-1"))
    assert permission.may_create(Tag("v1"))
    assert not permission.may_move(Tag("v1"))
    assert not permission.may_delete(Tag("ci-1"))


@given(GRANTS)
def test_grants_are_read_as_written(grant: Grant) -> None:
    """What the table of grants keeps is the grant."""
    assert Grant.parse(str(grant.repositories), grant.show_actions(), grant.show_tags()) == grant


@pytest.mark.parametrize("text", ["", ",", "pull;push", "PULL", "any", "catalog", "pull,write"])
def test_what_are_no_actions(text: str) -> None:
    """Actions are spelled exactly, and those of routes cannot be granted."""
    with pytest.raises(ActionsInvalid):
        parse_actions(text)


ALLOWED = {"a": ("a", "pull"), "a/b": ("a/*", "pull,push,delete"), "c": ("c", "create"), "host/a": ("host/a", "admin")}
EVERY = [Grant.parse(*words) for words in ALLOWED.values()]


def granted(*texts: str, grants: Iterable[Grant] = EVERY, has_catalog: bool = True) -> dict[str, list[str]]:
    """What a token for the scopes opens."""
    found = grant_scopes(parse_scopes(texts), lambda name: decide(grants, name), has_catalog=has_catalog)
    opened = {name: sorted(actions) for name, actions in found.repositories.items()}
    return opened | ({"catalog": ["*"]} if found.has_catalog else {})


NOTHING: dict[str, list[str]] = {}
SCOPES = [
    # 138
    ("", NOTHING), ("repository", NOTHING), ("repository:a", NOTHING), ("repository::pull", NOTHING),
    ("repository:a:", NOTHING), (":::", NOTHING), (" ", NOTHING), ("a:pull", NOTHING), ("::pull", NOTHING),
    # 139: our names have no host in front, so a colon is in no name
    ("repository:host:5000/a:pull", NOTHING), ("repository:host/a:pull", {"host/a": ["pull"]}),
    # 140
    ("repository:*:pull", NOTHING), ("repository:a/*:pull", NOTHING), ("repository:**:*", NOTHING),
    ("repository:a:*", {"a": ["pull"]}), ("repository:a/b:*", {"a/b": ["delete", "pull", "push"]}),
    ("registry:catalog:*", {"catalog": ["*"]}), ("registry:*:*", NOTHING), ("registry:catalog:pull", NOTHING),
    ("registry:a:*", NOTHING), ("repository(plugin):a:pull", {"a": ["pull"]}), ("repository():a:pull", NOTHING),
    ("repository(plugin:a:pull", NOTHING), ("repositoryx:a:pull", NOTHING), ("Repository:a:pull", NOTHING),
    # 141
    ("repository:a:pull,push,delete,admin,PULL,pull ", {"a": ["pull"]}), ("repository:a:PULL", NOTHING),
    ("repository:a:admin", NOTHING), ("repository:c:pull,push,delete", {"c": ["push"]}),
    ("repository:c:create", NOTHING),
    ("repository:host/a:pull,push,delete,admin", {"host/a": ["delete", "pull", "push"]}),
    ("repository:a:pull, repository:b:pull", {"a": ["pull"]}), ("repository:A:pull", NOTHING),
    ("repository:a:pull repository:a/b:push", {"a": ["pull"], "a/b": ["push"]}),
    ("repository:a/b:pull repository:a/b:push", {"a/b": ["pull", "push"]}), ("repository:a\t:pull", NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SCOPES)
def test_scopes(text: str, expected: dict[str, list[str]]) -> None:
    """Wildcards are literals, actions exact; what cannot be read asks for nothing."""
    assert granted(text) == expected


def test_many_scopes() -> None:
    """No more than a hundred are read, whether in one text or in many."""
    texts = [f"repository:a/{number}:pull" for number in range(MOST_SCOPES + 1)]
    assert len(granted(*texts)) == len(granted(" ".join(texts))) == MOST_SCOPES


def test_the_catalog_must_be_allowed() -> None:
    """Asked for is not granted."""
    assert granted("registry:catalog:*", has_catalog=False) == NOTHING


SCOPE_TEXTS = st.lists(
    st.builds(
        "{}:{}:{}".format,
        st.sampled_from(["repository", "repository(plugin)", "registry", "x"]),
        NAMES | st.just("catalog") | st.just("*"),
        st.lists(st.sampled_from(["pull", "push", "delete", "*", "admin", "PULL", ""]), max_size=4).map(",".join),
    )
    | st.text(":,()*abrepositypul ", max_size=40),
    max_size=5,
)


@given(SCOPE_TEXTS, st.lists(GRANTS, max_size=3), st.booleans())
def test_granted_is_asked_and_allowed(texts: list[str], grants: list[Grant], may_list: bool) -> None:
    """Nothing is granted that was not asked for in so many words, or that the grants do not allow."""
    asked = parse_scopes(texts)
    found = grant_scopes(asked, lambda name: decide(grants, name), has_catalog=may_list)
    assert found.has_catalog <= (asked.has_catalog and may_list)
    for name, actions in found.repositories.items():
        words = {word for text in " ".join(texts).split(" ") if f":{name}:" in text for word in re.split("[:,]", text)}
        permission = decide(grants, RepositoryName(name))
        assert actions
        assert actions <= {"pull", "push", "delete"}
        for action in actions:
            assert action in words or "*" in words
            assert permission.allows(Action(action))
    again = grant_scopes(found, lambda name: decide(grants, name), has_catalog=may_list)
    assert again == found, "to grant what is granted changes nothing"
    assert parse_scopes(show_scopes(found)) == found


@given(NAMES, st.sampled_from(GRANTABLE))
def test_what_scopes_allow(name: str, action: Action) -> None:
    """`create` is docker's push; `admin` is in no scope; another name is another matter."""
    repository = RepositoryName(name)
    push = Scopes({name: frozenset({"push"})})
    assert push.allows(repository, action) == (action in {Action.PUSH, Action.CREATE})
    assert not push.allows(RepositoryName(f"{name}/x"), action)
    assert not Scopes({name: frozenset({"pull", "push", "delete"})}).allows(repository, Action.ADMIN)


def test_actions_are_shown_in_order() -> None:
    """As docker writes them, and nothing unknown."""
    assert show_actions(["delete", "x", "push", "pull"]) == "pull,push,delete"

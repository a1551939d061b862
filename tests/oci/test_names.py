"""Names, tags and references, against the grammar of distribution-spec written a second time, letter by letter."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.errors import DigestInvalid, NameInvalid
from registry.oci.names import RepositoryName, Tag, TagInvalid, parse_digest, parse_reference
from storage.digest import Digest

ALPHANUMERIC = frozenset(string.ascii_lowercase + string.digits)
TAG_LETTERS = frozenset(string.ascii_letters + string.digits + "_")
DIGEST = "sha256:" + "0" * 64


def is_part(text: str) -> bool:
    """Whether the text is one path component: letters and digits, separated by `.`, `_`, `__` or any number of `-`."""
    if not text or text[0] not in ALPHANUMERIC or text[-1] not in ALPHANUMERIC:
        return False
    separators = "".join("a" if letter in ALPHANUMERIC else letter for letter in text).split("a")
    return all(one in ("", ".", "_", "__") or set(one) == {"-"} for one in separators)


def is_name(text: str) -> bool:
    return len(text) <= 255 and all(is_part(part) for part in text.split("/"))


def is_tag(text: str) -> bool:
    return 0 < len(text) <= 128 and text[0] in TAG_LETTERS and set(text) <= TAG_LETTERS | {".", "-"}


def parses_as_name(text: str) -> bool:
    try:
        return RepositoryName.parse(text).value == text
    except NameInvalid:
        return False


def parses_as_tag(text: str) -> bool:
    try:
        return Tag.parse(text).value == text
    except TagInvalid:
        return False


@given(st.text("abz019._-/", max_size=300) | st.text("ab.-_/AZ \n%:@", max_size=12) | st.text())
@example("a" * 255)
@example("a" * 256)
def test_name_parses_as_the_grammar_says(text: str) -> None:
    """A text is a repository name exactly when the grammar and the length say so."""
    assert parses_as_name(text) == is_name(text)


@given(st.lists(st.text("ab0", min_size=1, max_size=9), min_size=1, max_size=60), st.data())
def test_names_of_the_grammar_parse(words: list[str], data: st.DataObject) -> None:
    """Whatever the grammar makes is a repository name, up to 255 characters."""
    separators = st.sampled_from(["/", ".", "_", "__", "-", "--", "-----"])
    name = words[0] + "".join(data.draw(separators) + word for word in words[1:])
    assert parses_as_name(name) == (len(name) <= 255)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "0",
        "a/b",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a---b",
        "a/b/c/d/e/f/g/h/i/j",
        "a/manifests",
        "x/blobs/uploads",
        "library/hello-world",
        "v2",
        "catalog",
        "tags/list",
        "1.2.3",
        "a" * 255,
        "a/" * 127 + "a",
    ],
)
def test_good_names(text: str) -> None:
    """Names that clients use, and those of endpoints, are names."""
    assert RepositoryName.parse(text) == RepositoryName(text)
    assert str(RepositoryName.parse(text)) == text


@pytest.mark.input(31)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "aB",
        "a..b",
        "a._b",
        "a___b",
        "a_-b",
        ".a",
        "a.",
        "-a",
        "a-",
        "_a",
        "a_",
        "_catalog",
        "a\n",
        "\na",
        "a\nb",
        "a\r\n",
        " a",
        "a ",
        "a b",
        "a\0b",
        "a:b",
        "a@b",
        "a%2fb",
        "a\\b",
        "..",
        "a/../b",
        "a/./b",
        "\u00e9",
        "\uff41",
        "\u0663",
        "a\u200b",
        "\u017f",
        "a" * 256,
        "a/" * 128 + "a",
        "a-" * 50_000,
    ],
)
def test_bad_names(text: str) -> None:
    """Everything else is refused with NAME_INVALID, a trailing newline and hostile lengths included."""
    with pytest.raises(NameInvalid):
        RepositoryName.parse(text)


@given(st.text("aZ09._-", max_size=140) | st.text("a.-_ \n:/", max_size=6) | st.text())
@example("a" * 128)
@example("a" * 129)
def test_tag_parses_as_the_grammar_says(text: str) -> None:
    """A text is a tag exactly when the grammar and the length say so."""
    assert parses_as_tag(text) == is_tag(text)


@pytest.mark.parametrize(
    "text", ["latest", "_", "1", "A", "v1.0.0-rc.1", "a..b", "a--", "a.", "sha256-" + "0" * 64 + ".sig"]
)
def test_good_tags(text: str) -> None:
    """Tags that clients use are tags, those that are named after digests too."""
    assert parse_reference(text) == Tag(text)


@pytest.mark.parametrize("text", ["", ".", "-", ".a", "-a", "a b", "a\n", "a/b", "a+b", "ä", "a\0", "a" * 129])
def test_bad_tags(text: str) -> None:
    """What is no tag is refused."""
    with pytest.raises(TagInvalid):
        parse_reference(text)


def test_reference_with_a_colon_is_a_digest() -> None:
    """A reference is a digest when it has a colon, else a tag; never one for the other."""
    assert parse_reference(DIGEST) == Digest.parse(DIGEST)
    assert parse_reference(DIGEST.replace(":", "-")) == Tag(DIGEST.replace(":", "-"))


@pytest.mark.parametrize(
    "text", [":", "latest:", "sha256:abc", "md5:" + "0" * 32, DIGEST + "\n", DIGEST.upper(), "a:b:c"]
)
def test_bad_digests(text: str) -> None:
    """A reference that looks like a digest and is none is DIGEST_INVALID, never an unknown tag."""
    for parse in (parse_reference, parse_digest):
        with pytest.raises(DigestInvalid):
            parse(text)


def test_long_text_is_not_repeated_whole() -> None:
    """An error does not carry a megabyte back."""
    with pytest.raises(DigestInvalid) as raised:
        parse_digest("sha256:" + "0" * 1_000_000)
    assert len(str(raised.value.errors())) < 1000


@given(st.lists(st.text("abz019._-/", min_size=1, max_size=9), unique=True))
def test_names_sort_by_their_bytes(texts: list[str]) -> None:
    """The order of names and tags is that of their bytes, as lists have it."""
    assert [name.value for name in sorted(map(RepositoryName, texts))] == sorted(texts, key=str.encode)
    assert [tag.value for tag in sorted(map(Tag, texts))] == sorted(texts, key=str.encode)

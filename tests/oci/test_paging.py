"""Pages of lists: the query is read or refused, and the Link leads on."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from registry.api.paging import MOST_ENTRIES, Page
from registry.errors import PageInvalid


@pytest.mark.parametrize(
    ("query", "limit", "last"),
    [
        ("", MOST_ENTRIES, ""),
        ("n=0", 0, ""),
        ("n=1", 1, ""),
        ("n=007", 7, ""),
        ("n=2147483648", MOST_ENTRIES, ""),
        ("n=9223372036854775808", MOST_ENTRIES, ""),
        ("n=" + "9" * 30, MOST_ENTRIES, ""),
        ("last=a", MOST_ENTRIES, "a"),
        ("n=5&last=a%2Fb", 5, "a/b"),
        ("last=", MOST_ENTRIES, ""),
    ],
)
def test_query(query: str, limit: int, last: str) -> None:
    """`n` is clamped, never refused for its size; `last` is where the page begins."""
    assert Page.parse(QueryParams(query)) == Page(limit, last)


@pytest.mark.parametrize(
    "query",
    ["n=-1", "n=abc", "n=1.5", "n=%D9%A3", "n=1_0", "n=%205", "n=%2B5", "n=0x5", "n=", "n=1&n=2", "n=" + "9" * 31],
)
def test_bad_number(query: str) -> None:
    """What is no plain number of entries is refused."""
    with pytest.raises(PageInvalid):
        Page.parse(QueryParams(query))


@given(
    st.integers(0, MOST_ENTRIES),
    st.text(),
    st.dictionaries(st.sampled_from(["artifactType", "x"]), st.text(), max_size=2),
)
def test_link_leads_on(limit: int, last: str, also: dict[str, str]) -> None:
    """Whoever follows the Link asks for the next page: the same `n`, from the last entry on."""
    header = Page(limit, "").link("/v2/a/tags/list", last, also)["Link"]
    assert header.startswith("</v2/a/tags/list?")
    assert header.endswith('>; rel="next"')
    assert header.isascii()
    query = urlsplit(header[1:].partition(">")[0]).query
    assert Page.parse(QueryParams(query)) == Page(limit, last)
    plain = {name: value for name, value in also.items() if value}
    assert plain.items() <= {name: values[0] for name, values in parse_qs(query, errors="strict").items()}.items()


@pytest.mark.parametrize(
    ("limit", "found", "shown", "has_more"),
    [
        (2, [], [], False),
        (2, ["a"], ["a"], False),
        (2, ["a", "b"], ["a", "b"], False),
        (2, ["a", "b", "c"], ["a", "b"], True),
        (0, ["a"], [], False),
    ],
)
def test_cut(limit: int, found: list[str], shown: list[str], has_more: bool) -> None:
    """One entry more than the page holds says that another page follows; a page of none never leads on."""
    assert Page(limit, "").cut(found) == (shown, has_more)


@given(st.text() | st.text("0123456789", max_size=35) | st.from_regex(r"\A[-+ ]?\d+[.e_]?\d*\Z"))
@example("\u0663")
@example("1_0")
@example("5\n")
@example("9" * 31)
def test_any_number_is_read_or_refused(text: str) -> None:
    """One to thirty ASCII digits are a number of entries, nothing else is."""
    is_number = 0 < len(text) <= 30 and set(text) <= set("0123456789")
    try:
        page = Page.parse(QueryParams([("n", text)]))
    except PageInvalid:
        assert not is_number
    else:
        assert is_number
        assert page.limit == min(int(text), MOST_ENTRIES)

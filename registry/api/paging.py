"""Pages of lists (distribution-spec, "Listing Tags"): `n` entries after `last`, and a Link to the next page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from registry.errors import PageInvalid

MOST_ENTRIES = 10_000
_NUMBER = re.compile(r"[0-9]{1,30}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """At most `limit` entries after `last` in byte order."""

    limit: int
    last: str

    @classmethod
    def parse(cls, query: QueryParams) -> "Page":
        """Raises PageInvalid. A large `n` is answered with a full page and a Link, never refused."""
        numbers = query.getlist("n")
        if len(numbers) > 1 or (numbers and not _NUMBER.fullmatch(numbers[0])):
            raise PageInvalid
        limit = min(int(numbers[0]), MOST_ENTRIES) if numbers else MOST_ENTRIES
        return cls(limit, query.get("last", ""))

    def cut(self, found: list[str]) -> tuple[list[str], bool]:
        """The page out of `limit + 1` entries that were asked for, and whether another one follows."""
        shown = found[: self.limit]
        return shown, bool(shown) and len(found) > len(shown)

    def link(self, path: str, last: str, also: Mapping[str, str] | None = None) -> dict[str, str]:
        """The header that leads to the page after `last`; `path` is the list's, relative or with the public URL."""
        query = urlencode({**(also or {}), "n": str(self.limit), "last": last}, safe=":/")
        return {"Link": f'<{path}?{query}>; rel="next"'}

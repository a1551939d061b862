"""Patterns of a policy: `*` is any text, nothing else is special, the whole text must match."""

from dataclasses import dataclass
from typing import Self

_MOST_STARS = 4


class PatternInvalid(ValueError):
    """The text is empty or has more than four `*`."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Made by `parse` or `prefix`. `parts` is the text between the stars."""

    text: str
    parts: tuple[str, ...]
    is_prefix: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises PatternInvalid."""
        parts = tuple(text.split("*"))
        if not text or len(parts) > _MOST_STARS + 1:
            raise PatternInvalid(f"a pattern is text with at most {_MOST_STARS} of *, not {text[:100]!r}")
        return cls(text, parts)

    @classmethod
    def prefix(cls, text: str) -> Self:
        """What begins with the text, in which `*` is an ordinary character."""
        return cls(text, (text, ""), is_prefix=True)

    def is_match(self, text: str) -> bool:
        """Each part is sought once, from the left: no pattern makes it slow, as it would a regular expression."""
        first, last = self.parts[0], self.parts[-1]
        if len(self.parts) == 1:
            return text == first
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        place, end = len(first), len(text) - len(last)
        for part in self.parts[1:-1]:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True

"""Repository names, tags and references (distribution-spec, section "Pulling manifests")."""

import re
from dataclasses import dataclass
from typing import Self, TypeAlias

from registry.errors import DigestInvalid, NameInvalid
from storage.digest import Digest, InvalidDigest

_MOST_NAME = 255
_MOST_TAG = 128
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]*", re.ASCII)


class TagInvalid(ValueError):
    """The text is no tag. What that means depends on the method, so the door decides the answer."""


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises NameInvalid. The length comes first: the grammar may backtrack on a hostile text."""
        if len(text) > _MOST_NAME:
            raise NameInvalid(f"a repository name has at most {_MOST_NAME} characters")
        if not _NAME.fullmatch(text):
            raise NameInvalid(detail={"name": text})
        return cls(text)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises TagInvalid."""
        if len(text) > _MOST_TAG or not _TAG.fullmatch(text):
            raise TagInvalid(f"a tag is at most {_MOST_TAG} letters, digits, _ . - and begins with none of . -")
        return cls(text)

    def __str__(self) -> str:
        return self.value


Reference: TypeAlias = Tag | Digest


def parse_digest(text: str) -> Digest:
    """Raises DigestInvalid."""
    try:
        return Digest.parse(text)
    except InvalidDigest as problem:
        raise DigestInvalid(str(problem), detail={"digest": text[:_MOST_NAME]}) from None


def parse_reference(text: str) -> Reference:
    """A text with a colon is a digest, any other a tag. Raises DigestInvalid, TagInvalid."""
    return parse_digest(text) if ":" in text else Tag.parse(text)

"""The digest of a content: parse, compute, print (image-spec, descriptor.md, section "Digests")."""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from hashlib import _Hash

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_LONGEST = max(len(algorithm) + 1 + length for algorithm, length in _HEX_LENGTH.items())

ALGORITHMS = tuple(_HEX_LENGTH)


class InvalidDigest(ValueError):
    """The text is no digest, or its algorithm is not one of ALGORITHMS."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`<algorithm>:<encoded>`; equal digests mean equal bytes."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a registered digest. Raises InvalidDigest."""
        algorithm, colon, encoded = text[: _LONGEST + 1].partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if not colon or length is None or len(encoded) != length or not _HEX.fullmatch(encoded):
            known = " or ".join(f"{name}:<{size} lower-case hex digits>" for name, size in _HEX_LENGTH.items())
            raise InvalidDigest(f"a digest is {known}")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"


def new_hasher(algorithm: str) -> "_Hash":
    """A running hash. Raises InvalidDigest for an algorithm that is not one of ALGORITHMS."""
    if algorithm not in _HEX_LENGTH:
        raise InvalidDigest(f"the digest algorithm must be one of {', '.join(ALGORITHMS)}")
    return hashlib.new(algorithm)

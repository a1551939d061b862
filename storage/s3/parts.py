"""How a stream is cut into the parts of a multipart upload, without a byte in hand.

S3 wants at least 5 MiB in every part but the last, at most 10,000 parts, and objects end at 5 TiB. Parts begin with
8 MiB and double every 1000. While content comes at least 5 MiB are kept back, so that what is left at the end is a
part of its own right; only content that is shorter than that as a whole leaves a rest that can but be the last part.
"""

from itertools import pairwise

MIB = 1 << 20
LEAST = 5 * MIB  # bytes: a part may only be smaller if it is the last
MOST_PARTS = 10_000
LARGEST = 5 << 40  # bytes of an object
LARGE = 16 * MIB  # bytes: larger parts are never in memory as a whole
_FIRST = 8 * MIB
_DOUBLED_EVERY = 1000
MOST_COPIED = 256 * MIB  # bytes that one request copies: some seconds
_COPIES = 1500  # so many numbers at most go into copies; S3 copies up to 5 GiB into each


def part_size(number: int) -> int:
    """How many bytes the part with this number (from 1) has when more content follows."""
    return _FIRST << ((number - 1) // _DOUBLED_EVERY)


def least_rest(number: int) -> int:
    """With so many bytes what is left at the end of a chunk becomes a part, though more chunks may follow.

    In later parts it is more than S3 asks for: else 10,000 small chunks would use up the numbers.
    """
    return LEAST if number <= _DOUBLED_EVERY else part_size(number) * 3 // 4


class Cutter:
    """Counts the bytes that are `held`, after so many `parts` were cut, and says when to cut the next one."""

    def __init__(self, parts: int) -> None:
        self.number = parts + 1
        self.held = 0

    def add(self, size: int) -> int:
        """Hold `size` more bytes. Returns how many are to be cut off now as the next part, mostly 0."""
        self.held += size
        cut = part_size(self.number)
        return self._cut(cut) if self.held >= cut + LEAST else 0

    def finish(self, *, keeps_rest: bool) -> int:
        """Returns how many bytes are to be cut off at the end; with `keeps_rest` a small rest stays held."""
        return 0 if keeps_rest and self.held < least_rest(self.number) else self._cut(self.held)

    def _cut(self, size: int) -> int:
        self.held -= size
        self.number += 1 if size else 0
        return size


def cut_copies(size: int, most: int = MOST_COPIED) -> list[range]:
    """The ranges in which an object of `size` bytes, at least LEAST, is copied into the first parts of another.

    Each has about `most` bytes, never less, unless that is all.
    """
    count = max(1, min(_COPIES, size // most))
    bounds = [size * number // count for number in range(count + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]

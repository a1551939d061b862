"""How streams are cut into parts: S3's limits hold for any sequence of chunks."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.s3.parts import LARGEST, LEAST, MIB, MOST_PARTS, Cutter, cut_copies, least_rest, part_size

PIECE = st.integers(1, 40 * MIB)
CHUNKS = st.lists(st.lists(PIECE, max_size=8), min_size=1, max_size=12)


def cut(chunks: list[list[int]], first: int = 0) -> tuple[list[int], int]:
    """The sizes of the parts that chunks of pieces become, after `first` others, and the tail that is left."""
    sizes: list[int] = []
    tail = 0
    for chunk in chunks:
        cutter = Cutter(first + len(sizes))
        made = [cutter.add(piece) for piece in ([tail] if tail else []) + chunk]
        made.append(cutter.finish(keeps_rest=True))
        sizes += [size for size in made if size]
        tail = cutter.held
    return sizes, tail


def pieces_of(size: int) -> list[int]:
    """In pieces as small as the parts of the time, so that each piece completes one part at most."""
    return [8 * MIB] * (size // (8 * MIB)) + ([size % (8 * MIB)] if size % (8 * MIB) else [])


@given(CHUNKS, st.sampled_from([0, 999, 1000, 2999]))
def test_parts_cover_all_and_only_the_last_is_small(chunks: list[list[int]], first: int) -> None:
    """However content comes, no byte is lost, each part has at least 5 MiB, and the tail is smaller than a part."""
    small = [[size for piece in chunk for size in pieces_of(piece)] for chunk in chunks]
    sizes, tail = cut(small, first)
    assert sum(sizes) + tail == sum(map(sum, chunks))
    assert all(size >= least_rest(first + number) >= LEAST for number, size in enumerate(sizes, 1))
    assert tail < least_rest(first + len(sizes) + 1)


@given(st.integers(1, 64 * MIB))
def test_one_stream_is_cut_alike_whatever_its_pieces(size: int) -> None:
    """So that the same content has the same ETag when it comes once more."""
    assert cut([pieces_of(size)]) == cut([[MIB] * (size // MIB) + ([size % MIB] if size % MIB else [])])


@given(st.integers(5 * MIB, 100 * MIB))
@settings(max_examples=20)
def test_the_last_part_of_a_stream_is_small_only_if_all_of_it_is(size: int) -> None:
    """Of 5 MiB or more nothing is left over that could not have a part behind it."""
    assert cut([pieces_of(size)])[1] == 0


def test_the_largest_object_fits_the_numbers() -> None:
    """5 TiB in one stream take fewer than 10,000 parts, none of them larger than 5 GiB."""
    sizes, number = 0, 0
    while sizes < LARGEST:
        number += 1
        sizes += part_size(number)
    assert number < MOST_PARTS
    assert part_size(MOST_PARTS) <= 5 << 30


def test_the_largest_object_fits_in_chunks_of_the_worst_size() -> None:
    """Chunks that are always just large enough for a part of their own come to 5 TiB, too."""
    assert sum(least_rest(number) for number in range(1, MOST_PARTS)) > LARGEST


@given(st.integers(LEAST, LARGEST))
def test_copies_cover_the_object(size: int) -> None:
    """Copied parts follow each other without a gap, have at least 5 MiB, and at most the 5 GiB that S3 copies."""
    spans = cut_copies(size)
    assert (spans[0].start, spans[-1].stop) == (0, size)
    assert all(one.stop == other.start for one, other in pairwise(spans))
    assert all(LEAST <= len(span) <= 5 << 30 for span in spans)
    assert len(spans) <= 1500

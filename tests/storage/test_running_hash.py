"""Running hashes that are saved and restored, and those that cannot be."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digest import ALGORITHMS, InvalidDigest
from storage.running_hash import RunningHashes

HASHES = RunningHashes()
CONTENT = st.binary(max_size=700)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(pieces=st.lists(CONTENT, max_size=6))
def test_restored_hash_goes_on_as_hashlib_does(algorithm: str, pieces: list[bytes]) -> None:
    """Saved and restored after each piece, of whatever length, it ends in hashlib's digest."""
    running = HASHES.begin(algorithm)
    for piece in pieces:
        running.update(piece)
        restored = HASHES.restore(algorithm, running.save())
        assert restored is not None
        running = restored
    assert running.hexdigest() == hashlib.new(algorithm, b"".join(pieces)).hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_split_point(algorithm: str) -> None:
    """Around the blocks of 64 and 128 bytes each place to split is right."""
    content = bytes(range(256)) + bytes(range(256))
    for split in range(len(content) + 1):
        running = HASHES.begin(algorithm)
        running.update(content[:split])
        restored = HASHES.restore(algorithm, running.save())
        assert restored is not None
        restored.update(content[split:])
        assert restored.hexdigest() == hashlib.new(algorithm, content).hexdigest()


def test_sizes_beyond_four_gibibits() -> None:
    """SHA-256 counts bits in two words of 32: the count carries over into the high one, also from a saved state."""
    block, running, expected = bytes(8 << 20), HASHES.begin("sha256"), hashlib.sha256()
    for number in range(65):
        running.update(block)
        expected.update(block)
        if number in (62, 64):
            restored = HASHES.restore("sha256", running.save())
            assert restored is not None
            running = restored
    assert running.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("is_plain", [False, True])
def test_copies_go_on_by_themselves(is_plain: bool) -> None:
    """What is added to a copy is not in the original, and to look at a digest changes nothing."""
    running = RunningHashes(is_plain=is_plain).begin("sha256")
    running.update(b"begin")
    other = running.copy()
    other.update(b" end")
    assert running.hexdigest() == running.hexdigest() == hashlib.sha256(b"begin").hexdigest()
    assert other.hexdigest() == hashlib.sha256(b"begin end").hexdigest()


@pytest.mark.parametrize("is_plain", [False, True])
def test_any_kind_of_buffer(is_plain: bool) -> None:
    """Bytes, bytearrays and views of both, from their middle too, and empty ones."""
    running = RunningHashes(is_plain=is_plain).begin("sha512")
    for piece in (b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], memoryview(bytearray(b"xghx"))[1:3], b"",
                  bytearray(), memoryview(b"")):  # fmt: skip
        running.update(piece)
    assert running.hexdigest() == hashlib.sha512(b"abcdefgh").hexdigest()


def test_without_openssl_nothing_is_saved() -> None:
    """The digest is right all the same, and whoever wants to go on elsewhere is told that it cannot be."""
    hashes = RunningHashes(is_plain=True)
    running = hashes.begin("sha256")
    running.update(b"abc")
    assert running.hexdigest() == hashlib.sha256(b"abc").hexdigest()
    assert running.save() == ""
    assert hashes.restore("sha256", HASHES.begin("sha256").save()) is None


@pytest.mark.parametrize("saved", ["sha512:0::", "sha256:1:1,2,3,4,5,6,7,8:", "sha256:0:1,2:", "x", "sha256:a:b:c"])
def test_what_was_not_saved_is_refused(saved: str) -> None:
    """A state of another algorithm, or one that has lost bytes, is no state."""
    with pytest.raises(ValueError, match=r"."):
        HASHES.restore("sha256", saved)


def test_unknown_algorithm() -> None:
    """As everywhere, only the spec's algorithms are known."""
    with pytest.raises(InvalidDigest):
        HASHES.begin("md5")

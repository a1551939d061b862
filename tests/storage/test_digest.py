"""Digests, as image-spec's descriptor.md has them; and those of uploads in any chunking."""

import asyncio
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.blobstore import UploadState
from storage.digest import ALGORITHMS, Digest, InvalidDigest, new_hasher
from storage.filesystem import FilesystemBlobStore
from tests.storage.content import pieces

HEX = "0123456789abcdef"
ENCODED = {"sha256": 64, "sha512": 128}


def test_algorithms_are_those_of_the_specification() -> None:
    """The two registered algorithms, and no other."""
    assert set(ALGORITHMS) == set(ENCODED)


@given(st.sampled_from(sorted(ENCODED)), st.data())
def test_every_digest_parses_and_prints(algorithm: str, data: st.DataObject) -> None:
    """A registered digest is read and written back without a change."""
    length = ENCODED[algorithm]
    encoded = data.draw(st.text(HEX, min_size=length, max_size=length))
    digest = Digest.parse(f"{algorithm}:{encoded}")
    assert (digest.algorithm, digest.encoded) == (algorithm, encoded)
    assert str(digest) == f"{algorithm}:{encoded}"


@given(st.text())
def test_other_text_is_refused(text: str) -> None:
    """Text that is not exactly a registered digest raises InvalidDigest and nothing else."""
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


GOOD = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        "a" * 64,
        ":" + "a" * 64,
        GOOD + "\n",
        "\n" + GOOD,
        GOOD + " ",
        GOOD + "a",
        GOOD[:-1],
        GOOD.upper(),
        GOOD.replace("a", "A"),
        GOOD.replace("sha256", "SHA256"),
        GOOD.replace("sha256", "sha512"),
        GOOD.replace("sha256", "sha1"),
        GOOD.replace("sha256", "md5"),
        GOOD.replace("sha256", "sha256+b64"),
        GOOD[:-1] + "g",
        GOOD[:-1] + "\u0661",
        GOOD[:-1] + "\uff41",
        "sha256:" + "0x" + "a" * 62,
        "sha256:-" + "a" * 63,
        "sha256:../" + "a" * 61,
        "sha256::" + "a" * 63,
        "sha512:" + "a" * 127,
        "sha512:" + "a" * 129,
        "sha256:" + "a" * 1_000_000,
    ],
)
def test_near_misses_are_refused(text: str) -> None:
    """A digest with one thing wrong is no digest."""
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


@given(st.binary(), st.sampled_from(ALGORITHMS))
def test_digest_of_content(content: bytes, algorithm: str) -> None:
    """The digest of a content parses, and a running hash comes to the same."""
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest
    running = new_hasher(algorithm)
    running.update(content)
    assert running.hexdigest() == digest.encoded == hashlib.new(algorithm, content).hexdigest()


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "sha-256", "", "sha256\n", "blake3"])
def test_unknown_algorithm_has_no_hasher(algorithm: str) -> None:
    """Only registered algorithms run."""
    with pytest.raises(InvalidDigest):
        new_hasher(algorithm)


@settings(deadline=None, max_examples=40)
@given(
    content=st.binary(max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    elsewhere=st.lists(st.booleans(), min_size=9, max_size=9),
    algorithm=st.sampled_from(ALGORITHMS),
)
def test_any_chunking_has_the_same_digest(
    content: bytes, cuts: list[int], elsewhere: list[bool], algorithm: str
) -> None:
    """However a content is cut into appends, and whichever process takes each, its digest is the same."""
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})

    async def push(root: Path) -> Digest:
        stores = [FilesystemBlobStore(root, threads=1) for _ in range(2)]
        await stores[0].bind("one", is_populated=False)
        upload = UploadState("key", 0, algorithm)
        for end, is_elsewhere in zip(ends, elsewhere, strict=False):
            upload = await stores[is_elsewhere].append(upload, pieces(content[upload.offset : end]))
        digest = await stores[elsewhere[-1]].digest(upload, algorithm)
        for store in stores:
            store.close()
        return digest

    with TemporaryDirectory() as folder:
        assert asyncio.run(push(Path(folder))) == Digest.of(content, algorithm)

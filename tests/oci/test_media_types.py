"""The grammar of media types, and those that are known by name."""

import pytest

from registry.oci import media_types
from registry.oci.media_types import is_content_type, is_media_type, may_be_elsewhere

GOOD = [
    media_types.OCI_MANIFEST,
    media_types.OCI_INDEX,
    media_types.DOCKER_LIST,
    "application/json",
    "application/vnd.cncf.helm.config.v1+json",
    "application/vnd.buildkit.cacheconfig.v0",
    "a/b",
    "x/y!#$&^_.+-",
    "a" * 127 + "/" + "b" * 127,
]
BAD = [
    "",
    "/",
    "a",
    "a/",
    "/b",
    "a/b/c",
    "a b/c",
    "a/b c",
    "a/b\n",
    "a/b\r\nSet-Cookie: x=y",
    "a/\u00e9",
    "-a/b",
    "a/.b",
    "a/b*",
    "*/*",
    "a" * 128 + "/b",
    "a/" + "b" * 1_000_000,
]
WITH_PARAMETERS = ["text/plain; charset=utf-8", 'a/b;c="d e"', "a/b;c=d;e=f"]


@pytest.mark.parametrize("text", GOOD)
def test_media_types(text: str) -> None:
    """Types that clients use, and the edges of the grammar."""
    assert is_media_type(text)
    assert is_content_type(text)


@pytest.mark.parametrize("text", BAD)
def test_no_media_types(text: str) -> None:
    """Everything else is none, above all what could break a header."""
    assert not is_media_type(text)
    assert not is_content_type(text)


@pytest.mark.parametrize("text", WITH_PARAMETERS)
def test_parameters(text: str) -> None:
    """A descriptor's type may have parameters, a manifest's may not."""
    assert is_content_type(text)
    assert not is_media_type(text)


@pytest.mark.parametrize("text", ["a/b;", "a/b;c", "a/b;c=", 'a/b;c="d', "a/b;c=d\n", 'a/b;c="\r\n"', "a/b;c=d" * 200])
def test_no_parameters(text: str) -> None:
    """Broken parameters make no type."""
    assert not is_content_type(text)


def test_layers_that_may_be_elsewhere() -> None:
    """Non-distributable and Docker-foreign layers may be absent for good; no other layer may."""
    assert may_be_elsewhere("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    assert may_be_elsewhere("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    assert not may_be_elsewhere("application/vnd.oci.image.layer.v1.tar+gzip")
    assert not may_be_elsewhere("application/vnd.docker.image.rootfs.diff.tar.gzip")

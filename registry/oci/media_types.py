"""Media types: those we know by name, and the grammar of all others (RFC 6838, section 4.2)."""

import re

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})

# Layers that may be elsewhere for good: their licence forbids to push them, so nobody promises that they are here.
_ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)
_MOST = 255
_TOKEN = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # noqa: S105 - the RFC's word for a piece of grammar
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}", re.ASCII)
_PARAMETER = rf'[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*")'
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:{_PARAMETER})*", re.ASCII)


def is_media_type(text: str) -> bool:
    return len(text) <= _MOST and _MEDIA_TYPE.fullmatch(text) is not None


def is_content_type(text: str) -> bool:
    """A media type that may have parameters: podman describes a file as `text/plain; charset=utf-8`."""
    return len(text) <= _MOST and _CONTENT_TYPE.fullmatch(text) is not None


def may_be_elsewhere(media_type: str) -> bool:
    return media_type.startswith(_ELSEWHERE)

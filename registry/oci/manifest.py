"""What a manifest says: its type, the content it names, its subject (image-spec manifest.md, image-index.md).

Only what the registry needs is judged; the bytes are stored as they came.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from registry.errors import ManifestInvalid
from registry.oci import media_types
from registry.oci.strict_json import JSONRefused, decode
from storage.digest import Digest, InvalidDigest

MOST_BYTES = 4 << 20
_MOST_DESCRIPTORS = 10_000
_MOST_ANNOTATIONS = 1_000
_LARGEST = (1 << 63) - 1
_WITHOUT_FIELDS: Final = {
    "image": ("manifests", "blobs", "fsLayers"),
    "index": ("config", "layers", "blobs", "fsLayers"),
    "artifact": ("config", "layers", "manifests", "fsLayers"),
}


class Kind(StrEnum):
    """The role of a content in the manifest that names it."""

    CONFIG = "config"
    LAYER = "layer"
    CHILD = "child"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """`size` in bytes, as the manifest claims it."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class ManifestReference:
    """`is_required`: without this content the manifest is not complete."""

    kind: Kind
    digest: Digest
    is_required: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest and what it names: each kind and digest once, the subject included.

    `artifact_type` is the one that a referrers list shows: the config's media type if the manifest has none itself.
    """

    digest: Digest
    media_type: str
    content: bytes
    references: tuple[ManifestReference, ...]
    subject: Digest | None
    artifact_type: str | None
    annotations: Mapping[str, str]


def parse_manifest(content: bytes, content_type: str | None, algorithm: str = "sha256") -> Manifest:
    """Parse `content`, pushed with the Content-Type `content_type` (without parameters; None: it had none).

    `algorithm` is that of the digest it gets. Raises ManifestInvalid.
    """
    fields = _decode_object(content)
    media_type = _media_type(fields, content_type)
    _refuse_schema_1(fields, media_type)
    if {"manifests"} & fields.keys() and {"config", "layers", "blobs"} & fields.keys():
        raise ManifestInvalid("a manifest has layers or manifests, not both: readers would disagree about it")
    shape = _shape(media_type)
    references = _strict_references(fields, shape) if shape else _found_references(fields)
    config = _descriptor(fields["config"], "config") if shape == "image" else None
    subject = _subject(fields, is_strict=shape is not None)
    if subject:
        references.append(ManifestReference(Kind.SUBJECT, subject.digest, is_required=False))
    return Manifest(
        digest=Digest.of(content, algorithm),
        media_type=media_type,
        content=content,
        references=_each_once(references),
        subject=subject.digest if subject else None,
        artifact_type=_artifact_type(fields) or (config.media_type if config else None),
        annotations=_annotations(fields, is_strict=shape is not None),
    )


def _decode_object(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise ManifestInvalid(f"a manifest has at most {MOST_BYTES} bytes")
    try:
        fields = decode(content)
    except JSONRefused as problem:
        raise ManifestInvalid(f"the manifest is not acceptable JSON: {problem}") from None
    if not isinstance(fields, dict):
        raise ManifestInvalid("a manifest is a JSON object")
    return fields


def _media_type(fields: dict[str, Any], content_type: str | None) -> str:
    stated = fields.get("mediaType")
    if stated is not None and not isinstance(stated, str):
        raise ManifestInvalid("mediaType is a string")
    if content_type and stated and content_type != stated:
        raise ManifestInvalid(f"the Content-Type is {content_type[:99]}, but the manifest's mediaType {stated[:99]}")
    media_type = content_type or stated
    if not media_type:
        raise ManifestInvalid("the manifest has no mediaType: send its Content-Type")
    if not media_types.is_media_type(media_type) or media_type.startswith("text/"):
        raise ManifestInvalid(f"{media_type[:99]!r} is no media type that a manifest can have")
    return media_type


def _refuse_schema_1(fields: dict[str, Any], media_type: str) -> None:
    if media_type in media_types.DOCKER_SCHEMA_1 or "fsLayers" in fields:
        raise ManifestInvalid("Docker's schema 1 is not supported: push with a client that makes schema 2 or OCI")


def _shape(media_type: str) -> str | None:
    if media_type in media_types.IMAGES:
        return "image"
    if media_type in media_types.INDEXES:
        return "index"
    return "artifact" if media_type == media_types.OCI_ARTIFACT else None


def _strict_references(fields: dict[str, Any], shape: str) -> list[ManifestReference]:
    for field in _WITHOUT_FIELDS[shape]:
        if field in fields:
            raise ManifestInvalid(f"an {shape} has no field {field!r}")
    if shape == "artifact":
        return _references(Kind.LAYER, _descriptors(fields.get("blobs", []), "blobs"))
    version = fields.get("schemaVersion")
    if version != 2 or isinstance(version, float):  # noqa: PLR2004 - the only version there is
        raise ManifestInvalid("schemaVersion is the number 2")
    if shape == "index":
        return _references(Kind.CHILD, _descriptors(fields.get("manifests"), "manifests"))
    config = _references(Kind.CONFIG, [_descriptor(fields.get("config"), "config")])
    return config + _references(Kind.LAYER, _descriptors(fields.get("layers"), "layers"))


def _found_references(fields: dict[str, Any]) -> list[ManifestReference]:
    """What a manifest of an unknown type seems to name: enough to keep it, not enough to demand it."""
    found: list[ManifestReference] = []
    for field, kind in (("layers", Kind.LAYER), ("blobs", Kind.LAYER), ("manifests", Kind.CHILD)):
        values = fields.get(field)
        found += (
            [_optional(kind, value) for value in values if _is_descriptor(value)] if isinstance(values, list) else []
        )
    if _is_descriptor(fields.get("config")):
        found.append(_optional(Kind.CONFIG, fields["config"]))
    if len(found) > _MOST_DESCRIPTORS:
        raise ManifestInvalid(f"a manifest names at most {_MOST_DESCRIPTORS} contents")
    return found


def _optional(kind: Kind, value: dict[str, Any]) -> ManifestReference:
    return ManifestReference(kind, Digest.parse(value["digest"]), is_required=False)


def _is_descriptor(value: Any) -> bool:
    try:
        _descriptor(value, "")
    except ManifestInvalid:
        return False
    return True


def _references(kind: Kind, descriptors: list[Descriptor]) -> list[ManifestReference]:
    return [
        ManifestReference(
            kind,
            descriptor.digest,
            is_required=kind is not Kind.LAYER or not media_types.may_be_elsewhere(descriptor.media_type),
        )
        for descriptor in descriptors
    ]


def _each_once(references: list[ManifestReference]) -> tuple[ManifestReference, ...]:
    once: dict[tuple[Kind, Digest], ManifestReference] = {}
    for reference in references:
        key = (reference.kind, reference.digest)
        if key not in once or reference.is_required:
            once[key] = reference
    return tuple(once.values())


def _descriptors(values: Any, where: str) -> list[Descriptor]:
    if not isinstance(values, list):
        raise ManifestInvalid(f"{where} is an array of descriptors")
    if len(values) > _MOST_DESCRIPTORS:
        raise ManifestInvalid(f"{where} has more than {_MOST_DESCRIPTORS} descriptors")
    return [_descriptor(value, f"{where}[{position}]") for position, value in enumerate(values)]


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} is a descriptor: an object with mediaType, digest and size")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not media_types.is_content_type(media_type):
        raise ManifestInvalid(f"{where}.mediaType is no media type")
    if type(size) is not int or not 0 <= size <= _LARGEST:
        raise ManifestInvalid(f"{where}.size is no number of bytes")
    try:
        parsed = Digest.parse(digest if isinstance(digest, str) else "")
    except InvalidDigest as problem:
        raise ManifestInvalid(f"{where}.digest: {problem}") from None
    descriptor = Descriptor(media_type, parsed, size)
    if "data" in value:
        _check_embedded(value["data"], descriptor, where)
    return descriptor


def _check_embedded(data: Any, descriptor: Descriptor, where: str) -> None:
    try:
        content = base64.b64decode(data if isinstance(data, str) else "", validate=True)
    except (binascii.Error, ValueError):
        raise ManifestInvalid(f"{where}.data is not base64") from None
    digest = descriptor.digest
    if not isinstance(data, str) or len(content) != descriptor.size or Digest.of(content, digest.algorithm) != digest:
        raise ManifestInvalid(f"{where}.data is not the content that its digest and size name")


def _subject(fields: dict[str, Any], *, is_strict: bool) -> Descriptor | None:
    value = fields.get("subject")
    if value is None or (not is_strict and not _is_descriptor(value)):
        return None
    return _descriptor(value, "subject")


def _artifact_type(fields: dict[str, Any]) -> str | None:
    value = fields.get("artifactType")
    if value is not None and not isinstance(value, str):
        raise ManifestInvalid("artifactType is a string")
    return value or None


def _annotations(fields: dict[str, Any], *, is_strict: bool) -> dict[str, str]:
    value = fields.get("annotations")
    if value is None:
        return {}
    if isinstance(value, dict) and len(value) <= _MOST_ANNOTATIONS and all(isinstance(v, str) for v in value.values()):
        return value
    if is_strict:
        raise ManifestInvalid(f"annotations is an object of at most {_MOST_ANNOTATIONS} strings")
    return {}

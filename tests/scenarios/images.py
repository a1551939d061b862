"""Blobs and manifests for scenarios: the smallest that the registry takes for what they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from registry.oci.media_types import OCI_INDEX, OCI_MANIFEST
from storage.digest import Digest

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Content:
    """Something that a descriptor can name: a blob, or a manifest of the type `media_type`."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.content)

    @property
    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.content)}


def make_blob(text: str) -> Content:
    return Content(LAYER_TYPE, text.encode())


def make_image(
    config: Content, layers: Sequence[Content] = (), subject: Content | None = None, **more: object
) -> Content:
    """`more`: further fields of the manifest."""
    fields: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor | {"mediaType": CONFIG_TYPE},
        "layers": [layer.descriptor for layer in layers],
    }
    if subject:
        fields["subject"] = subject.descriptor
    return Content(OCI_MANIFEST, json.dumps(fields | more).encode())


def make_index(children: Sequence[Content], **more: object) -> Content:
    """`more`: further fields of the index."""
    fields = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child.descriptor for child in children]}
    return Content(OCI_INDEX, json.dumps(fields | more).encode())

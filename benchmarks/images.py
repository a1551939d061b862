"""Images that benchmarks push: their media types and manifests."""

import json

from storage.digest import Digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def make_manifest(config: Digest, size: int) -> bytes:
    """An image whose one layer is its config: the server counts them as two references."""
    descriptor = {"digest": str(config), "size": size}
    layers = [{"mediaType": LAYER_TYPE, **descriptor}]
    content = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": {"mediaType": CONFIG_TYPE, **descriptor}}
    return json.dumps(content | {"layers": layers}).encode()

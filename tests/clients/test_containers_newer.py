"""What only the newer tools on containers/image do: partial pulls of layers, artifacts, resumed downloads."""

import json
import os
from pathlib import Path

import pytest

from .cutting_proxy import CuttingProxy
from .images import MIB, Image, Layout, blobs_in_layout, files_in_archive, layer
from .podman import Podman
from .registry import Registry
from .suites import Suite


@pytest.fixture(scope="module")
def podman(newer: Suite) -> Podman:
    return Podman(newer)


def push_chunked(podman: Podman, image: Image, folder: Path, reference: str) -> None:
    layout = Layout(folder)
    layout.tag("1", layout.add_image(image))
    podman.take(folder, "1", reference)
    podman.run("push", "--tls-verify=false", "--compression-format=zstd:chunked", "--force-compression", reference)


def test_partial_pull(registry: Registry, newer: Suite, podman: Podman) -> None:
    """A pull of an image whose files are mostly here already asks for several ranges of a layer in one request."""
    kept = {f"file/{number}": os.urandom(MIB // 4) for number in range(8)}
    old = Image((layer(kept),))
    new = Image((layer(kept | {f"file/{number}": os.urandom(MIB // 4) for number in (1, 3, 5)}),))
    for tag, image in (("old", old), ("new", new)):
        push_chunked(podman, image, newer.folder(f"chunked-{tag}"), f"{registry.address}/newer/chunked:{tag}")
    podman.forget()
    podman.run("pull", "--tls-verify=false", f"{registry.address}/newer/chunked:old")
    with registry.recording() as log:
        podman.run("pull", "--tls-verify=false", f"{registry.address}/newer/chunked:new")
    parts = [answer for answer in log.partial("newer/chunked") if "multipart/byteranges" in (answer.media_type or "")]
    assert parts, log
    assert all("," in (answer.range or "") for answer in parts)
    sent = sum(answer.sent for answer in log.matching("GET", "/v2/newer/chunked/blobs/.*"))
    assert sent < 2 * MIB  # of the layer's two; three quarters of one are new
    assert files_in_archive(podman.save(f"{registry.address}/newer/chunked:new")) == new.files


def test_podman_artifact(registry: Registry, newer: Suite, podman: Podman) -> None:
    """Podman pushes a file as an artifact and extracts the same bytes after a pull."""
    folder = newer.folder("artifact")
    (folder / "notes.txt").write_text("an artifact\n")
    reference = f"{registry.address}/newer/artifact:1"
    podman.run("artifact", "add", reference, folder / "notes.txt")
    podman.run("artifact", "push", "--tls-verify=false", reference)
    registry.assert_complete("newer/artifact", "1")
    podman.run("artifact", "rm", reference)
    podman.run("artifact", "pull", "--tls-verify=false", reference)
    podman.run("artifact", "extract", reference, folder / "extracted.txt")
    assert (folder / "extracted.txt").read_text() == "an artifact\n"


def test_skopeo_resumes_a_cut_download(registry: Registry, newer: Suite, one_layer: Image) -> None:
    """A copy whose connection breaks goes on where it was, with a range."""
    layout = Layout(newer.folder("cut-layout"))
    layout.tag("1", layout.add_image(one_layer))
    target = newer.folder("cut") / "layout"
    newer.run(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        f"oci:{layout.folder}:1",
        f"docker://{registry.address}/newer/cut:1",
    )
    with CuttingProxy(registry.port, downloaded=8 * MIB) as proxy, registry.recording() as log:
        newer.run(
            "skopeo", "copy", "--src-tls-verify=false", f"docker://{proxy.address}/newer/cut:1", f"oci:{target}:1"
        )
        assert proxy.cuts == 1
    [resumed] = log.partial("newer/cut")
    assert resumed.range
    assert resumed.range != "bytes=0-"
    manifest = registry.manifest("newer/cut", "1")
    assert {d["digest"] for d in (manifest["config"], *manifest["layers"])} < blobs_in_layout(target)
    assert json.loads((target / "index.json").read_text())["manifests"][0]["digest"] == registry.digest(
        "newer/cut", "1"
    )

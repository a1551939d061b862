"""helm: charts as artifacts, found by version."""

from pathlib import Path

import pytest

from .registry import Registry
from .suites import Suite, tool_path


@pytest.fixture(scope="module")
def helm() -> Path:
    return tool_path("helm")


@pytest.fixture(scope="module")
def chart(debian12: Suite) -> Path:
    folder = debian12.folder("helm") / "demo"
    (folder / "templates").mkdir(parents=True)
    (folder / "templates" / "settings.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: demo}\n")
    return folder


def package(suite: Suite, helm: Path, chart: Path, version: str) -> Path:
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: demo\nversion: {version}\n")
    suite.run(helm, "package", chart, "--destination", chart.parent)
    return chart.parent / f"demo-{version}.tgz"


def test_push_then_pull(registry: Registry, debian12: Suite, helm: Path, chart: Path) -> None:
    """A chart comes back byte by byte; the plus sign of its version is an underscore in the tag."""
    pushed = package(debian12, helm, chart, "1.2.3+build.4")
    debian12.run(helm, "push", "--plain-http", pushed, f"oci://{registry.address}/helm")
    manifest = registry.manifest("helm/demo", "1.2.3_build.4")
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    registry.assert_complete("helm/demo", "1.2.3_build.4")
    target = debian12.folder("pulled")
    chart_reference = f"oci://{registry.address}/helm/demo"
    debian12.run(helm, "pull", "--plain-http", "--version=1.2.3+build.4", "--destination", target, chart_reference)
    [pulled] = target.iterdir()
    assert pulled.read_bytes() == pushed.read_bytes()


def test_pull_by_range_of_versions(registry: Registry, debian12: Suite, helm: Path, chart: Path) -> None:
    """A range of versions is resolved through the list of tags."""
    for version in ("2.0.0", "2.1.0", "3.0.0"):
        pushed = package(debian12, helm, chart, version)
        debian12.run(helm, "push", "--plain-http", pushed, f"oci://{registry.address}/ranges")
    with registry.recording() as log:
        shown = debian12.run(
            helm, "show", "chart", "--plain-http", "--version=^2", f"oci://{registry.address}/ranges/demo"
        )
    assert "version: 2.1.0" in shown
    assert log.matching("GET", "/v2/ranges/demo/tags/list", 200)

"""Every setting that deploy/ and its document name is one, with a value that the registry takes."""

import re
from pathlib import Path

import pytest

from registry.config import PREFIX, Config
from registry.sources import load

from .files import DEPLOY, DOCUMENT, UNITS, VARIANTS
from .settings import of_compose, of_kubernetes

FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts)
KNOWN = {f"{PREFIX}{name}".upper() for name in Config.model_fields} | {f"{PREFIX}CONFIG"}


@pytest.mark.parametrize("path", [*FILES, DOCUMENT], ids=lambda path: path.name)
def test_names(path: Path) -> None:
    """No file names a setting that there is not."""
    # What Kubernetes would set is told of in a comment, by the name of a setting that there is.
    assert set(re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z]", path.read_text())) - KNOWN == set()


def test_compose() -> None:
    """The compose file's settings are valid, and for several replicas."""
    config = of_compose()
    assert not config.is_embedded
    assert config.storage.startswith("s3://")
    assert config.anonymous == "none"
    assert config.lifecycle_hours > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_kubernetes(variant: str) -> None:
    """The ConfigMap's settings are valid with what the Secret adds, and strangers may do nothing."""
    config = of_kubernetes(variant)
    assert config.is_embedded == (variant == "single")
    assert config.storage.startswith("s3://") == (variant == "replicas")
    assert config.anonymous == "none"


def test_systemd() -> None:
    """The file of settings is valid as it stands, and with each line that is commented out."""
    file = UNITS / "entrepot.toml"
    assert load(file, environment={})[0].data == Path("/var/lib/entrepot")
    offered = re.findall(r"^# (\w+) = (?:\[?\"(.*)\"\]?)$", file.read_text(), re.MULTILINE)
    assert {"database", "storage", "public_url", "tls_cert"} <= {name for name, _ in offered}
    load(file, flags=dict(offered), environment={})

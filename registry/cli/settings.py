"""The settings of one command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.cli.invocation import Refused
from registry.config import Config, ConfigInvalid
from registry.sources import load


def load_config(file: Path | None, flags: Mapping[str, Any] | None = None) -> tuple[Config, dict[str, str]]:
    """The configuration and its origins. Raises Refused."""
    try:
        return load(file, flags)
    except ConfigInvalid as problem:
        raise Refused(str(problem)) from None

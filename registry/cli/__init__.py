"""The command `entrepot`."""

from registry.cli.app import main

__all__ = ["main"]

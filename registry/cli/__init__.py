"""The command `entrepot`: one module for each noun, each of them parses, calls the rules and prints."""

from registry.cli.app import main

__all__ = ["main"]

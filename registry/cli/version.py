"""Which version of the program this is."""

from importlib import metadata


def find_version() -> str:
    return metadata.version("entrepot")

"""Where a registry's database and blobs are, in words for people: what is printed never has a password in it."""

import re

from registry.config import Config, hide_password
from registry.stores import name_places


def show_database(config: Config) -> str:
    """The path of the embedded database, the URL of another one."""
    return name_places(config)[0]


def show_blobs(config: Config) -> str:
    """The directory of the files, the URL of a bucket."""
    return name_places(config)[1]


def show_registry(config: Config) -> str:
    """What one calls the registry by: the directory of the embedded database, the URL of another one."""
    return str(config.database_path.parent) if config.is_embedded else show_database(config)


def name_settings(config: Config) -> str:
    """The settings that say where the registry is."""
    if config.is_embedded and config.bucket is None:
        return "ENTREPOT_DATA (or ENTREPOT_DATABASE and ENTREPOT_STORAGE)"
    return "ENTREPOT_DATABASE and ENTREPOT_STORAGE"


def without_password(config: Config, text: str) -> str:
    """A message of somebody else's, in which the database's URL, or a quoted piece of it, may stand as it was given."""
    if not config.database:
        return text
    text = text.replace(config.database, hide_password(config.database))
    login, _, _ = config.database.partition("://")[2].rpartition("@")
    for piece in re.split("[:/@]", login)[1:]:  # a character of the password that is not encoded ends it for some
        text = text.replace(f'"{piece}"', '"***"')
    return text

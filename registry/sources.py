"""Where the settings come from: a TOML file, overridden by ENTREPOT_* in the environment, overridden by flags."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from registry.config import PREFIX, Config, ConfigInvalid, hide_password

# What a setting must be, in the words of whoever sets it.
_MUST = {
    "data": "be a path",
    "storage": "be file:///absolute/path or s3://bucket/prefix",
    "database": "be sqlite:////absolute/path or postgresql://user@host/name",
    "database_connections": "be a whole number from 2 to 1000",
    "s3_endpoint": "begin with http:// or https:// and have no path",
    "s3_region": "be a region's name",
    "s3_public_endpoint": "begin with http:// or https:// and have no path",
    "s3_redirects": "be on or off",
    "s3_encryption": "be AES256, aws:kms or aws:kms:KEY",
    "s3_storage_class": "be a storage class in capitals",
    "s3_checksums": "be auto, when_required or when_supported",
    "s3_addressing": "be auto, path or virtual",
    "upload_memory_mib": "be a whole number, 32 or more",
    "host": "be an address",
    "port": "be a number from 0 to 65535",
    "workers": "be 1",
    "tls_cert": "be a path",
    "tls_key": "be a path",
    "public_url": "begin with http:// or https:// and have no path",
    "trusted_proxies": "be addresses and networks, separated by commas",
    "anonymous": "be none, pull or push",
    "sparse_manifests": "be refuse, index or accept",
    "metrics": "be local or public",
    "admin_user": "be a user's name",
    "admin_password_file": "be the path of a file",
    "requests_per_second": "be a number, 0 or more",
    "undelete_days": "be a whole number from 0 to 3650",
    "lifecycle_hours": "be a number, 0 or more",
    "lifecycle_keys": "be all or ecr",
    "brake_percent": "be a whole number from 1 to 100",
    "collector": "be on or off",
    "scrub_mib_per_second": "be a number, 0 or more",
    "reserve_mib": "be a whole number, 0 or more",
    "body_idle_seconds": "be a number above 0",
    "bytes_per_second": "be a whole number, 0 or more",
    "manifest_bytes": "be a whole number from 4096 to 4194304",
    "blob_bytes": "be a whole number, 1 or more",
    "uploads_at_once": "be a whole number, 1 or more",
    "target_bytes": "be a whole number from 1024 to 1048576",
    "header_bytes": "be a whole number from 4096 to 1048576",
    "header_count": "be a whole number from 20 to 1000",
    "header_seconds": "be a number above 0",
    "idle_seconds": "be a number above 0",
    "edge": "be on or off",
    "drain_seconds": "be a whole number, 0 or more",
    "log_format": "be auto, json or text",
}


def load(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> tuple[Config, dict[str, str]]:
    """The configuration, and the origin of each setting: default, file, environment or flag. Raises ConfigInvalid.

    `flags` are the command line's, None where a flag was not given.
    """
    file = file or _default_file(environment)
    sources = {
        "file": _read_file(file) if file else {},
        "environment": _read_environment(os.environ if environment is None else environment),
        "flag": {name: value for name, value in (flags or {}).items() if value is not None},
    }
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Config.model_fields, "default")
    for origin, found in sources.items():
        _refuse_unknown(found, origin, file)
        values |= found
        origins |= dict.fromkeys(found, origin)
    try:
        return Config(**values), origins
    except ValidationError as problem:
        raise ConfigInvalid("\n".join(_explain(error, origins, file) for error in problem.errors())) from None


def _default_file(environment: Mapping[str, str] | None) -> Path | None:
    named = (os.environ if environment is None else environment).get(f"{PREFIX}CONFIG")
    return Path(named) if named else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise ConfigInvalid(f"{path} cannot be read: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigInvalid(f"{path} is not TOML: {problem}") from None
    return {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in values.items()}


def _read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in (f"{PREFIX}CONFIG", f"{PREFIX}CACHE") and value
    }


def _refuse_unknown(values: Mapping[str, Any], origin: str, file: Path | None) -> None:
    for name in values:
        if name not in Config.model_fields:
            near = difflib.get_close_matches(name, Config.model_fields, 1)
            meant = f"did you mean {_spell(near[0], origin)}?" if near else f"there are {_spell_all(origin)}"
            raise ConfigInvalid(f"{_spell(name, origin)}{_place(origin, file)} is an unknown setting: {meant}")


def _explain(error: Any, origins: Mapping[str, str], file: Path | None) -> str:
    if error["type"] == "incomplete":
        given, missing = error["ctx"]["given"], error["ctx"]["missing"]
        origin = origins[given]
        setting = f"{_spell(given, origin)}{_place(origin, file)}"
        return f"{setting} needs {_spell(missing, origin)} too: set both, or neither"
    name = str(error["loc"][0])
    setting = f"{_spell(name, origins[name])}{_place(origins[name], file)}"
    hint = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    return f"{setting} must {_MUST[name]}, not {_quote(error['input'])}{hint and f': {hint}'}"


def _quote(value: object) -> str:
    """As it was written, without a URL's password: text in quotes, TOML's booleans in small letters."""
    return str(value).lower() if isinstance(value, bool) else repr(hide_password(str(value)))


def _spell(name: str, origin: str) -> str:
    """The setting's name as it is written where it came from."""
    if origin == "environment":
        return PREFIX + name.upper()
    return f"--{name.replace('_', '-')}" if origin == "flag" else name


def _spell_all(origin: str) -> str:
    return ", ".join(_spell(name, origin) for name in Config.model_fields)


def _place(origin: str, file: Path | None) -> str:
    return f" in {file}" if origin == "file" else ""

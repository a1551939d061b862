"""`entrepot doctor`: examines what the settings name, and says what to change."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import typer
import urllib3

from registry.api.origin import is_loopback
from registry.app import Registry
from registry.cli import opening
from registry.cli.doctor_bucket import examine_bucket, examine_redirects
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import print_json, print_table, show_count
from registry.cli.places import show_blobs, show_database, without_password
from registry.cli.settings import load_config
from registry.config import Config
from registry.doctor import (
    DatabaseDoctor,
    Diagnosis,
    Grade,
    broken,
    examine_dates,
    examine_folder,
    examine_pair,
    fine,
    warning,
)
from registry.errors import RegistryError
from registry.identity import milliseconds_now
from registry.metadata import schema
from registry.server import CannotServe, open_certificate, refuse_exposure
from storage.blobstore import ForeignStore

app = typer.Typer(add_completion=False)

_TIMEOUT = urllib3.Timeout(connect=5, read=10)
_ANSWERS = (200, 401, 403)


@app.command()
def doctor(as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """Examine all that the settings name, and say what to change.

    It looks at the database, the blob store, the clocks, the certificate, the
    public URL and who may do something, as seen from this machine. It runs
    beside a server or without one, and leaves nothing behind. Exit status 1 when
    something is broken; a warning is something that works today.

    Examples:
      entrepot doctor
      entrepot doctor --json | jq -r '.findings[] | select(.grade != "fine").advice'
    """
    config, origins = load_config(config_file)
    chosen = sum(origin != "default" for origin in origins.values())
    found = [fine("settings", f"{show_count(chosen, 'setting')} of {len(origins)} given"), *_examine(config)]
    counts = Counter(each.grade for each in found)
    if as_json:
        document = {grade.value: counts[grade] for grade in Grade}
        print_json({**document, "findings": [_describe(config, each) for each in found]})
    else:
        rows = [tuple(_describe(config, each).values()) for each in found]
        print_table(("SUBJECT", "GRADE", "FOUND", "WHAT TO DO"), rows)
        typer.echo(_sum_up(counts))
    if counts[Grade.BROKEN]:
        raise typer.Exit(1)


def _examine(config: Config) -> Iterator[Diagnosis]:
    is_guarded = is_served = False
    try:
        if config.is_embedded and not config.database_path.exists():
            yield fine("database", f"none yet at {show_database(config)}: `entrepot serve` makes it")
        else:
            found, is_guarded, is_served = asyncio.run(_examine_stores(config))
            yield from found
    except (RegistryError, OSError) as problem:
        yield broken("database", f"{show_database(config)}: {problem}", "correct ENTREPOT_DATABASE, or start it")
    if config.is_embedded:
        yield from examine_folder("database", _existing(config.database_path.parent), config.reserve, is_database=True)
    if config.bucket is None:
        yield from _examine_files(config)
    else:
        yield from examine_bucket(config)
        yield examine_redirects(config)
    yield from _examine_access(config, is_guarded=is_guarded)
    yield from _examine_certificate(config)
    if config.public_url:
        yield _examine_url(config, is_served=is_served)


async def _examine_stores(config: Config) -> tuple[list[Diagnosis], bool, bool]:
    """With whether somebody can log in, and whether a server runs."""
    registry = Registry(config)
    try:
        found = await DatabaseDoctor(registry.database, milliseconds_now, config.database_connections).examine()
        if found[0].grade is Grade.BROKEN:
            return found, False, False
        try:
            instance = await registry.database.read(schema.find_instance)
        except RegistryError:
            return found, False, False  # another version's: told already
        if instance is None:
            return found, False, False
        is_served = await opening.is_served(registry)
        found.append(fine("server", "at least one runs" if is_served else "none runs"))
        found.append(await _examine_bond(registry, config, instance))
        return found, await registry.identities.is_guarded(), is_served
    finally:
        registry.close()


async def _examine_bond(registry: Registry, config: Config, instance: str) -> Diagnosis:
    try:
        await registry.store.verify(instance)
    except (ForeignStore, OSError) as problem:
        advice = "name a database and blobs that belong together, or mount the volume of the blobs"
        return broken("blobs", str(problem), advice)
    return fine("blobs", f"{show_blobs(config)}: they belong to this database")


def _examine_files(config: Config) -> Iterator[Diagnosis]:
    yield from examine_folder("blobs", _existing(config.storage_path), config.reserve)
    yield from examine_pair(config.storage_path / "uploads", config.storage_path / "data")
    if not config.is_embedded:
        advice = "with several servers mount one shared directory there, or use an S3 server (ENTREPOT_STORAGE=s3://…)"
        yield warning("blobs", "the database may be shared, these files are this machine's", advice)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _examine_access(config: Config, *, is_guarded: bool) -> Iterator[Diagnosis]:
    try:
        refuse_exposure(config, is_guarded=is_guarded)
    except CannotServe as problem:
        first, _, rest = str(problem).partition("\n")
        yield broken("access", first, rest.replace("\n", " "))
        return
    if is_guarded:
        yield fine("access", "users and robots log in")
    elif config.anonymous == "push":
        yield warning(
            "access", "everyone may push", "make users (entrepot user add NAME --admin), unless that is meant"
        )
    elif config.anonymous is not None:
        yield fine("access", f"nobody can log in; strangers may {config.anonymous}")
    else:
        yield fine("access", "protected mode: only this machine is served")


def _examine_certificate(config: Config) -> Iterator[Diagnosis]:
    try:
        if open_certificate(config) is None or config.tls_cert is None:
            if not (config.public_url.startswith("https:") or is_loopback(config.host)):
                advice = "give ENTREPOT_TLS_CERT and ENTREPOT_TLS_KEY, or put a proxy with TLS in front"
                yield warning("certificate", f"passwords come to {config.host} unencrypted", advice)
            return
        host = urlsplit(config.public_url).hostname or ""
        yield from examine_dates(config.tls_cert.read_bytes(), host, time.time())
    except CannotServe as problem:
        yield broken("certificate", str(problem), "correct ENTREPOT_TLS_CERT and ENTREPOT_TLS_KEY")


def _examine_url(config: Config, *, is_served: bool) -> Diagnosis:
    """Whether a registry answers where clients are told to go."""
    url = f"{config.public_url}/v2/"
    judge, advice = (broken, "clients there will see the same") if is_served else (warning, "start the server first")
    try:
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
            answer = pool.request("GET", url, redirect=False)
    except urllib3.exceptions.HTTPError as problem:
        return judge(
            "public URL", f"{url}: {problem}", f"correct ENTREPOT_PUBLIC_URL or what stands in front: {advice}"
        )
    if "docker-distribution-api-version" not in answer.headers or answer.status not in _ANSWERS:
        return judge("public URL", f"{url} answers {answer.status}, not as a registry", f"pass /v2/ to it: {advice}")
    realm = answer.headers.get("www-authenticate", "")
    if realm.startswith("Bearer") and f'realm="{config.public_url}/token"' not in realm:
        return judge("public URL", f"{url} is another registry: {realm}", "name this one in ENTREPOT_PUBLIC_URL")
    return fine("public URL", f"{url} answers {answer.status}")


def _describe(config: Config, each: Diagnosis) -> dict[str, str]:
    hide = partial(without_password, config)
    return {"subject": each.subject, "grade": each.grade.value, "found": hide(each.found), "advice": hide(each.advice)}


def _sum_up(counts: Counter[Grade]) -> str:
    told = [f"{counts[Grade.BROKEN]} broken"] if counts[Grade.BROKEN] else []
    told += [show_count(counts[Grade.WARNING], "warning")] if counts[Grade.WARNING] else []
    return ", ".join(told) or "all is well"

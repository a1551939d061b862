"""Examines what a registry stands on: settings are one thing, what is really there another. Leaves nothing behind."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509

from registry.errors import RegistryError
from registry.identity import Clock, parse_address
from registry.metadata import examination, schema
from registry.metadata.database import Database, Transaction
from registry.metadata.examination import Server

_OLDEST_POSTGRES = 14
_DRIFT_MILLISECONDS = 2_000  # between two clocks, before people wonder about the order of things
_RESERVE = 256 << 20  # bytes
_SLOW_SYNC_SECONDS = 0.5
_SOON_DAYS = 14
_DAY = 86_400
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "lustre"})


class Grade(StrEnum):
    """A warning is something that works today."""

    FINE = "fine"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about a subject, and what to do about it."""

    subject: str
    grade: Grade
    found: str
    advice: str = ""


def fine(subject: str, found: str) -> Diagnosis:
    return Diagnosis(subject, Grade.FINE, found)


def warning(subject: str, found: str, advice: str) -> Diagnosis:
    return Diagnosis(subject, Grade.WARNING, found, advice)


def broken(subject: str, found: str, advice: str) -> Diagnosis:
    return Diagnosis(subject, Grade.BROKEN, found, advice)


class DatabaseDoctor:
    """Examines an opened database. `connections` is how many a server may have to a shared one."""

    def __init__(self, database: Database, clock: Clock, connections: int) -> None:
        self._database = database
        self._clock = clock
        self._connections = connections

    async def examine(self) -> list[Diagnosis]:
        try:
            started = time.monotonic()
            drift = await self._measure_drift()
            took = (time.monotonic() - started) * 1000
        except RegistryError as problem:
            return [broken("database", str(problem), "start it, or correct ENTREPOT_DATABASE")]
        found = [fine("database", f"answers in {took:.1f} ms"), await self._examine_schema()]
        if self._database.is_shared:
            found += [_judge_drift(drift), *self._judge(await self._database.read(examination.examine))]
        return found

    async def _measure_drift(self) -> int:
        """Milliseconds by which its clock goes before ours."""
        before = self._clock()
        now = await self._database.read(lambda tx: tx.now())
        return now - (before + self._clock()) // 2

    async def _examine_schema(self) -> Diagnosis:
        def look(tx: Transaction) -> tuple[str, bool] | None:
            if schema.find_instance(tx) is None:
                return None
            return schema.get_registry_id(tx), schema.has_more(tx)

        try:
            found = await self._database.read(look)
        except RegistryError as problem:
            return warning("schema", str(problem), "commands of this version do not work until then")
        if found is None:
            return fine("schema", "no registry yet: `entrepot serve` makes it")
        registry_id, has_more = found
        whose = "a newer version's, which this one can work with" if has_more else "this version's"
        return fine("schema", f"{whose}, registry {registry_id}")

    def _judge(self, server: Server) -> Iterator[Diagnosis]:
        oldest = f"PostgreSQL {_OLDEST_POSTGRES} is the oldest that is tested"
        if server.version < _OLDEST_POSTGRES:
            yield broken("version", f"PostgreSQL {server.version}", f"upgrade it: {oldest}")
        else:
            yield fine("version", f"PostgreSQL {server.version}")
        if server.is_on("in_hot_standby"):
            yield broken("role", "a read-only standby", "name the primary in ENTREPOT_DATABASE")
        if server.settings["server_encoding"] != "UTF8":
            encoding = server.settings["server_encoding"]
            yield broken("encoding", encoding, "make the database with ENCODING 'UTF8' TEMPLATE template0")
        else:
            yield fine("encoding", 'UTF8; the order of names is ours (COLLATE "C"), whatever the database\'s is')
        yield from _judge_durability(server)
        yield self._judge_connections(server)

    def _judge_connections(self, server: Server) -> Diagnosis:
        most = int(server.settings["max_connections"]) - int(server.settings["superuser_reserved_connections"])
        servers = most // self._connections
        text = f"{self._connections} of each server, {most} in all: enough for {servers}"
        if servers < 2:  # noqa: PLR2004 - two of them during an upgrade
            return warning("connections", text, "raise max_connections, or lower ENTREPOT_DATABASE_CONNECTIONS")
        return fine("connections", text)


def _judge_drift(drift: int) -> Diagnosis:
    text = f"the database's clock is {abs(drift) / 1000:.1f} s {'before' if drift > 0 else 'behind'} this machine's"
    if abs(drift) > _DRIFT_MILLISECONDS:
        return warning("clock", text, "run an NTP client on both; tokens and S3 signatures depend on it, too")
    return fine("clock", text)


def _judge_durability(server: Server) -> Iterator[Diagnosis]:
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if not server.is_on(setting):
            lost = "an answered push" if setting == "synchronous_commit" else "the whole database"
            yield warning("durability", f"{setting} is off", f"switch it on: a power failure can take {lost}")
    if all(map(server.is_on, ("fsync", "full_page_writes", "synchronous_commit"))):
        sums = "" if server.is_on("data_checksums") else "; pages have no checksums (pg_checksums adds them)"
        yield fine("durability", f"fsync, full_page_writes and synchronous_commit are on{sums}")


def examine_folder(subject: str, folder: Path, reserve: int | None, *, is_database: bool = False) -> list[Diagnosis]:
    """Can files be made durable in an existing folder, and for how long? `reserve` in bytes, None: the default one."""
    found: list[Diagnosis] = []
    remote = _find_remote(folder)
    if remote and is_database:
        advice = "put it on a local disk, or use PostgreSQL: SQLite's write-ahead log cannot be shared over a network"
        found.append(broken(subject, f"{folder} is on {remote}", advice))
    elif remote:
        advice = "it works when the server's fsync is honest; the file server must not answer before it has written"
        found.append(warning(subject, f"{folder} is on {remote}", advice))
    try:
        took = _write_and_sync(folder)
    except OSError as problem:
        advice = "run this as the server's user, who must be able to write there"
        return [*found, broken(subject, f"{folder}: {problem.strerror}", advice)]
    if took > _SLOW_SYNC_SECONDS:
        advice = "every push waits for several of them: use a faster disk"
        found.append(warning(subject, f"{folder}: a durable write takes {took:.1f} s", advice))
    else:
        found.append(fine(subject, f"{folder}: a durable write takes {took * 1000:.1f} ms"))
    return [*found, *_examine_room(subject, folder, reserve)]


def examine_pair(uploads: Path, blobs: Path) -> list[Diagnosis]:
    """Uploads become blobs by a rename, which cannot leave a volume."""
    if not (uploads.is_dir() and blobs.is_dir()) or uploads.stat().st_dev == blobs.stat().st_dev:
        return []
    advice = "mount one volume over the whole directory"
    return [broken("blobs", f"{uploads} and {blobs} are on two volumes", advice)]


def examine_dates(chain: bytes, host: str, now: float) -> list[Diagnosis]:
    """The first certificate of a chain in PEM, for clients that ask `host` (empty: unknown). `now` in Unix seconds."""
    certificate = x509.load_pem_x509_certificates(chain)[0]
    left = (certificate.not_valid_after_utc.timestamp() - now) / _DAY
    until = certificate.not_valid_after_utc.date().isoformat()
    if left < 0 or certificate.not_valid_before_utc.timestamp() > now:
        found = [broken("certificate", f"valid until {until} and from {certificate.not_valid_before_utc}", "renew it")]
    elif left < _SOON_DAYS:
        found = [warning("certificate", f"valid until {until}", "renew it; the server reads it again by itself")]
    else:
        found = [fine("certificate", f"valid until {until}")]
    names = _list_names(certificate)
    if host and not any(_covers(name, host) for name in names):
        advice = "have one made for the name in ENTREPOT_PUBLIC_URL"
        found.append(broken("certificate", f"it is for {', '.join(names) or 'no name'}, not for {host}", advice))
    return found


def _list_names(certificate: x509.Certificate) -> Sequence[str]:
    with contextlib.suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
        return [*names.get_values_for_type(x509.DNSName), *addresses]
    return []


def _covers(name: str, host: str) -> bool:
    if (address := parse_address(host)) is not None:
        return parse_address(name) == address
    if name.startswith("*."):
        return host.lower().partition(".")[2] == name[2:].lower()
    return name.lower() == host.lower()


def _write_and_sync(folder: Path) -> float:
    """Seconds for what a push does: write a file, sync it, rename it, sync the directory."""
    path = folder / f".entrepot-doctor-{os.getpid()}"
    renamed = path.with_name(f"{path.name}-renamed")
    started = time.monotonic()
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, b"entrepot doctor")
            os.fsync(file)
        finally:
            os.close(file)
        path.rename(renamed)
        os.fsync(directory)
        return time.monotonic() - started
    finally:
        os.close(directory)
        path.unlink(missing_ok=True)
        renamed.unlink(missing_ok=True)


def _examine_room(subject: str, folder: Path, reserve: int | None) -> Iterator[Diagnosis]:
    space = os.statvfs(folder)
    free, size = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    kept = min(size // 20, _RESERVE) if reserve is None else reserve
    text = f"{free / (1 << 30):.1f} of {size / (1 << 30):.1f} GiB are free"
    if free <= kept:
        yield broken(subject, text, "pushes are refused: free some, or make the volume larger")
    elif free < kept + size // 20:
        yield warning(subject, text, f"pushes are refused when {kept >> 20} MiB are left")
    else:
        yield fine(subject, text)
    if space.f_files and space.f_favail * 20 < space.f_files:
        yield warning(subject, f"{space.f_favail} files more fit on the volume", "each blob is one")


def _find_remote(folder: Path) -> str:
    """The type of a network file system, nothing for a local one, or where nobody says."""
    found = ""
    with contextlib.suppress(OSError):
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
        places = {Path(fields[1].replace("\\040", " ")): fields[2] for fields in mounts}
        found = next((places[path] for path in (folder, *folder.parents) if path in places), "")
    return found if found in _REMOTE else ""

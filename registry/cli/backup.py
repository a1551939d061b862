"""`entrepot backup`: save the registry while it serves."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated

import typer

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Refused
from registry.cli.moving import Bar, blob_bar, show_rows, show_unsaved
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import exact_instant, print_hint, print_json, show_count, show_instant, show_size
from registry.cli.version import find_version
from registry.moving.archive import Sink, Title
from registry.moving.backup import Backup, Saved
from storage.files import sync_directory

app = typer.Typer(add_completion=False)


@app.command()
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; - is standard output.")],
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Save the registry into one file, also while it serves.

    FILE is a tar with all rows as of one instant and every blob that they name,
    each of them hashed again. It is whole when it has its name, and can be
    restored to SQLite or PostgreSQL, to files or S3 (entrepot restore). It has
    the hashes of passwords in it, so keep it as you keep the registry. Settings,
    certificates and uploads that are not finished are not in it.

    A blob that is damaged or missing is named, the rest is saved: exit status 1.
    While it runs the collector waits; pushes, pulls and deletes do not.

    Examples:
      entrepot backup /backup/registry-$(date +%F).tar
      entrepot backup - | zstd | ssh host 'cat > registry.tar.zst'
    """
    with blob_bar("Saving blobs") as bar, _explained_output(file), _opened(file) as (output, folder):
        saved = opening.change(
            ctx, config_file, lambda registry, _by: _backup(registry, _Output(output, file), folder, bar)
        )
    is_streamed = str(file) == "-"
    if as_json:
        with contextlib.redirect_stdout(sys.stderr if is_streamed else sys.stdout):
            print_json(_document(saved))
    else:
        show_unsaved(saved.unsaved)
        (print_hint if is_streamed else typer.echo)(_sum_up(saved))
    if saved.unsaved:
        raise typer.Exit(1)


async def _backup(
    registry: Registry,
    output: Sink,
    folder: Path | None,
    bar: Bar,
) -> Saved:
    def tell(title: Title) -> None:
        bar.begin(title.blob_bytes)

    return await Backup(registry.database, registry.store, registry.clock, find_version()).write(
        output, folder, tell, bar.advance
    )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], Path | None]]:
    """The file that gets its name at the end of the block, and where temporary files may be. Raises Refused, OSError.

    Never over another one: a backup of a damaged registry must not replace one from before the damage.
    """
    if str(file) == "-":
        if sys.stdout.isatty():
            raise Refused("the backup would go to the terminal: name a file, or send it to another program")
        yield sys.stdout.buffer, None
        sys.stdout.buffer.flush()
        return
    if file.exists():
        raise Refused(f"{file} is there already: name another file")
    part = file.with_name(f"{file.name}.part")
    with open(part, "ab", opener=_open_private) as output:
        try:
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another backup writes {part} now") from None
        try:
            output.truncate(0)
            yield output, file.parent
            output.flush()
            os.fsync(output.fileno())
            part.rename(file)
            sync_directory(file.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@dataclass(frozen=True, slots=True)
class _Output:
    """The file at `path`, whose problems are told as its own, not as the registry's."""

    file: IO[bytes]
    path: Path

    def write(self, content: bytes, /) -> object:
        with _explained_output(self.path):
            return self.file.write(content)

    def flush(self) -> None:
        with _explained_output(self.path):
            self.file.flush()


@contextlib.contextmanager
def _explained_output(file: Path) -> Iterator[None]:
    """Tell what is wrong with the file itself. Raises Refused."""
    try:
        yield
    except BrokenPipeError:
        raise Refused("whoever reads the backup has stopped: it is not whole") from None
    except OSError as problem:
        raise Refused(f"{problem.filename or file}: {problem.strerror or problem}") from None


def _document(saved: Saved) -> dict[str, object]:
    title = asdict(saved.title)
    return {
        "taken_at": exact_instant(saved.title.taken_at),
        "bytes": saved.size,
        "blobs": title["blobs"],
        "blob_bytes": title["blob_bytes"],
        "rows": title["rows"],
        "unsaved": [asdict(each) for each in saved.unsaved],
    }


def _sum_up(saved: Saved) -> str:
    title = saved.title
    damage = f"; {show_count(len(saved.unsaved), 'blob')} NOT saved" if saved.unsaved else ""
    return (
        f"Saved as of {show_instant(title.taken_at)}: {show_rows(title.rows)},"
        f" {show_count(title.blobs, 'blob')} of {show_size(title.blob_bytes)}{damage}"
    )

"""`entrepot garbage`: collect, explain, purge."""

import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from registry.app import Registry
from registry.cli import opening
from registry.cli.invocation import Refused
from registry.cli.names import ContentArgument, OptionalContentArgument, RepositoryOption
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import (
    exact_instant,
    make_console,
    print_hint,
    print_json,
    print_table,
    show_count,
    show_instant,
    show_size,
)
from registry.garbage import Collected
from registry.identity import Actor
from registry.metadata.explanations import Due, Fact
from registry.oci.names import RepositoryName
from registry.purges import Purged
from storage.digest import Digest

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Collect, explain and purge what is deleted or not used."
)

_Purge: TypeAlias = Callable[[Registry, Actor], Coroutine[Any, Any, Purged]]

_KINDS = {"right": "blob"}  # what the collector looks at, in the words of those who do not know its tables
_FREED = {"manifests": "manifest", "blobs": "blob", "uploads": "upload", "repositories": "repository"}


@dataclass(frozen=True, slots=True)
class _Waiting:
    """How many of a kind wait for the same reason, from the first instant on at which one of them may go."""

    kind: str
    reason: str
    count: int
    size: int
    first_at: int


@app.command()
def collect(
    ctx: typer.Context,
    *,
    is_rehearsal: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go and when; change nothing.")
    ] = False,
    ignores_rest: Annotated[
        bool, typer.Option("--now", help="Do not rest after a server that did not end by itself.")
    ] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Remove for good what is deleted and past its undelete window, and blobs that nothing names.

    The server does the same by itself (see ENTREPOT_COLLECTOR), and both may run
    at once, beside pushes and pulls. What is part of no image goes when that
    is still so a minute later: this waits for it. Afterwards it shows what else waits.

    After a server that was killed, or a restore, the collector rests for ten
    minutes, because some clients may have been told of blobs that they are about
    to use: then it says until when, exit status 1. --now goes ahead, when no push
    is running.

    Examples:
      entrepot garbage collect --dry-run
      entrepot garbage collect --json | jq .bytes
    """
    if is_rehearsal:
        _rehearse(opening.read(ctx, config_file, lambda registry: registry.garbage.forecast()), as_json=as_json)
        return
    collected, due = opening.change(
        ctx, config_file, lambda registry, _by: _collect(registry, ignores_rest=ignores_rest)
    )
    waiting = _group(due)
    if as_json:
        print_json(_document(collected, waiting))
    elif collected.rests_until is None and collected.held_until is None:
        if waiting:
            rows = [(_show(each.count, each.kind), show_instant(each.first_at), each.reason) for each in waiting]
            print_table(("WAITING", "FROM", "WHY"), rows)
        typer.echo(_sum_up(collected, sum(each.count for each in waiting)))
    _refuse_rest(collected)
    if collected.failed:
        raise typer.Exit(1)


def _refuse_rest(collected: Collected) -> None:
    """Raises Refused when nothing was collected."""
    if collected.held_until is not None:
        raise Refused(
            "a backup or a move reads the blobs, and nothing is removed until it ends: try again then.\n"
            f"If it was killed, that is so until {show_instant(collected.held_until)}"
        )
    if collected.rests_until is not None:
        raise Refused(
            f"the collector rests until {show_instant(collected.rests_until)}: the last server did not end by itself,"
            " or its database was restored, and clients may be about to use blobs that they were told of.\n"
            "When no push is running, --now goes ahead"
        )


@app.command()
def explain(
    ctx: typer.Context, digest: ContentArgument, as_json: AsJson = False, config_file: ConfigFile = None
) -> None:
    """Say why a manifest or a blob is still here, and when it would go.

    It may be in several repositories, and stays as long as one of them needs it.
    USED BY names at most ten tags, indexes or manifests.

    Examples:
      entrepot garbage explain "$DIGEST"
    """
    facts = opening.read(ctx, config_file, lambda registry: registry.garbage.explain(digest))
    if not facts:
        raise Refused(f"nothing here has the digest {digest}: it was never here, or is gone for good")
    if as_json:
        print_json({"digest": str(digest), "facts": [_describe(fact) for fact in facts]})
        return
    for fact in facts:
        typer.echo(f"{fact.repository}: the {fact.kind} {fact.reason}{_show_end(fact.at)}")
        for use in fact.uses:
            typer.echo(f"  used by {use}")


@app.command()
def purge(  # noqa: PLR0913 - each is an argument
    ctx: typer.Context,
    digest: OptionalContentArgument = None,
    *,
    repository: RepositoryOption = None,
    run: Annotated[
        int | None, typer.Option("--run", metavar="ID", min=1, help="What this lifecycle run removed.")
    ] = None,
    is_confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Remove deleted content now and for good, before its undelete window ends.

    For a secret that was pushed, or a disk that is full. It takes what is deleted
    already, and nothing that a tag, an index or a manifest uses: a DIGEST with
    the blobs that only it needs; with --repository all that is deleted in it, or
    the deleted repository; with --run what a lifecycle run removed. It asks
    before it does so; in a script, where nobody can be asked, it wants --yes.
    A push that runs now and counts on one of these blobs has to be repeated.

    Examples:
      entrepot garbage purge "$DIGEST"
      entrepot garbage purge --repository demo/app --yes
      entrepot garbage purge --run 12
    """
    what, work = _choose(digest, repository, run)
    if run is not None:  # before anybody is asked about one that is not there
        opening.change(ctx, config_file, lambda registry, _by: registry.runs.show(run))
    if not is_confirmed:
        if digest is not None:  # as a change, to ask nobody who may not make it
            facts = opening.change(ctx, config_file, lambda registry, _by: registry.garbage.explain(digest))
            what += _show_places(facts)
        _confirm(what)
    purged = opening.change(ctx, config_file, work)
    if as_json:
        print_json({name: getattr(purged, name) for name in Purged.__slots__})
    else:
        typer.echo(_sum_up_purge(purged))
        if repository and not (purged.manifests or purged.rights or purged.kept):
            print_hint(
                f"Nothing is deleted in {repository}. Deleting a tag leaves its manifest:"
                f" `entrepot manifest list {repository} --untagged` shows those"
            )
    if purged.kept:
        raise typer.Exit(1)


async def _collect(registry: Registry, *, ignores_rest: bool) -> tuple[Collected, list[Due]]:
    console = make_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Collecting", total=None)
        total = Collected()

        def advance(step: Collected) -> None:
            nonlocal total
            total += step
            doing = "Collecting"
            if step.waits_until is not None:
                doing = f"Waiting until {show_instant(step.waits_until)} for what is part of no image to stay so"
                if not console.is_terminal:
                    print_hint(doing)
            progress.update(task, description=f"{doing}: {show_size(total.bytes)}")

        is_served = await opening.is_served(registry)
        await registry.garbage.begin_collecting(is_served=is_served, goes_ahead=ignores_rest)
        collected = await registry.garbage.collect(advance, ignores_rest=ignores_rest)
        return collected, await registry.garbage.forecast()


def _rehearse(found: list[Due], *, as_json: bool) -> None:
    if as_json:
        print_json({"due": [_describe_due(due) for due in found]})
        return
    rows = [
        (
            _name(due.kind),
            due.repository or "-",
            due.digest or "-",
            show_instant(due.at),
            show_size(due.size),
            due.reason,
        )
        for due in found
    ]
    if rows:
        print_table(("KIND", "REPOSITORY", "DIGEST", "AT", "SIZE", "WHY"), rows, numbers=("SIZE",))
    typer.echo(f"{len(found)} would go if nothing changes" if found else "nothing is to be removed, now or later")


def _group(found: Iterable[Due]) -> list[_Waiting]:
    """The first to go comes first."""
    groups: dict[tuple[str, str], _Waiting] = {}
    for due in found:
        kind = _name(due.kind)
        known = groups.get((kind, due.reason), _Waiting(kind, due.reason, 0, 0, due.at))
        groups[kind, due.reason] = _Waiting(
            kind, due.reason, known.count + 1, known.size + due.size, min(known.first_at, due.at)
        )
    return sorted(groups.values(), key=lambda group: group.first_at)


def _sum_up(collected: Collected, waiting: int) -> str:
    text = f"{_show_freed(collected)}; {waiting} waiting" if waiting else _show_freed(collected)
    return f"{text}; {collected.failed} put off, because they failed" if collected.failed else text


def _show_freed(freed: Collected | Purged) -> str:
    counts = {noun: getattr(freed, name, 0) for name, noun in _FREED.items()}
    parts = [_show(count, noun) for noun, count in counts.items() if count]
    return f"{', '.join(parts)} removed, {show_size(freed.bytes)} freed" if parts else "nothing removed"


def _show(count: int, noun: str) -> str:
    return f"{count} repositories" if noun == "repository" and count != 1 else show_count(count, noun)


def _name(kind: str) -> str:
    return _KINDS.get(kind, kind)


def _show_end(at: int | None) -> str:
    return "" if at is None else f" ({show_instant(at)})"


def _document(collected: Collected, waiting: Sequence[_Waiting]) -> dict[str, object]:
    counts = {name: getattr(collected, name) for name in (*_FREED, "bytes", "failed")}
    rests_until = collected.rests_until
    return counts | {
        "rests_until": None if rests_until is None else exact_instant(rests_until),
        "waiting": [
            {
                "kind": each.kind,
                "count": each.count,
                "bytes": each.size,
                "from": exact_instant(each.first_at),
                "reason": each.reason,
            }
            for each in waiting
        ],
    }


def _describe_due(due: Due) -> dict[str, object]:
    return {
        "kind": _name(due.kind),
        "repository": due.repository or None,
        "digest": due.digest or None,
        "at": exact_instant(due.at),
        "bytes": due.size,
        "reason": due.reason,
    }


def _describe(fact: Fact) -> dict[str, object]:
    return {
        "repository": fact.repository,
        "kind": fact.kind,
        "reason": fact.reason,
        "at": None if fact.at is None else exact_instant(fact.at),
        "bytes": fact.size,
        "used_by": list(fact.uses),
    }


def _choose(digest: Digest | None, repository: RepositoryName | None, run: int | None) -> tuple[str, _Purge]:
    """What is to be purged, in words, and how. Raises UsageError."""
    if digest and not repository and run is None:
        return str(digest), lambda registry, by: registry.purges.purge_digest(digest, by)
    if repository and not digest and run is None:
        what = f"all that is deleted in {repository}"
        return what, lambda registry, by: registry.purges.purge_repository(repository, by)
    if run is not None and not digest and not repository:
        return f"what run {run} removed", lambda registry, by: registry.purges.purge_run(run, by)
    raise typer.BadParameter("say what to purge: one of DIGEST, --repository NAME and --run ID")


def _show_places(facts: Sequence[Fact]) -> str:
    names = sorted({fact.repository for fact in facts})
    return f" in {', '.join(names)}" if names else ""


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise Refused(f"nobody is here to confirm that {what} shall be gone for good: say --yes")
    try:
        is_wanted = typer.confirm(f"Remove {what}, for good?", err=True)
    except typer.Abort:
        typer.echo(err=True)  # the question's line has no end yet
        is_wanted = False
    if not is_wanted:
        raise Refused("aborted, nothing is purged")


def _sum_up_purge(purged: Purged) -> str:
    text = _show_freed(purged)
    if purged.kept:
        stay = show_count(purged.kept, "manifest")
        text += f"; {stay} kept by deleted indexes that can come back: purge these first"
    return text

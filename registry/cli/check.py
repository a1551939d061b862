"""`entrepot check`: do database and store agree?"""

from collections import Counter
from dataclasses import dataclass

import typer
from rich.progress import Progress

from registry.app import Registry
from registry.check import Finding
from registry.cli import opening
from registry.cli.options import AsJson, ConfigFile
from registry.cli.output import make_console, print_json, print_table, show_count, show_size

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class _Report:
    """How many blobs were looked at, what is wrong, and what pushes have left or are making."""

    blobs: int
    findings: list[Finding]
    uploads: int
    upload_bytes: int

    @property
    def damaged(self) -> int:
        return sum(finding.is_damage for finding in self.findings)


@app.command()
def check(ctx: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """See whether database and store agree, and change nothing.

    Each blob that the database knows must be stored with its size. One that
    is missing or truncated is damage: exit status 1. Pushing the image again
    repairs it. The content is not read: bytes that changed in
    place are found by entrepot scrub, and called damaged here from then on.

    Unknown content is named by no row: a push that was cut off left them, or one
    that runs now made them. It does no harm. Unfinished uploads are pushes that
    run now or were cut off; their bytes go a week after the last chunk.

    Examples:
      entrepot check
      entrepot check --json | jq .damaged
    """
    report = opening.read(ctx, config_file, _check)
    if as_json:
        print_json(_document(report))
    else:
        rows = [(each.problem, each.digest or "-", each.key) for each in report.findings]
        if rows:
            print_table(("PROBLEM", "DIGEST", "KEY"), rows)
        typer.echo(_sum_up(report))
    if report.damaged:
        raise typer.Exit(1)


async def _check(registry: Registry) -> _Report:
    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Looking at blobs", total=await registry.check.count())
        findings = [finding async for finding in registry.check.run(lambda: progress.advance(task))]
        return _Report(int(progress.tasks[0].completed), findings, *await registry.check.count_uploads())


def _document(report: _Report) -> dict[str, object]:
    return {
        "blobs": report.blobs,
        "damaged": report.damaged,
        "unknown": len(report.findings) - report.damaged,
        "unfinished_uploads": report.uploads,
        "unfinished_upload_bytes": report.upload_bytes,
        "findings": [
            {"problem": each.problem, "digest": each.digest or None, "key": each.key} for each in report.findings
        ],
    }


def _sum_up(report: _Report) -> str:
    counts = Counter(finding.problem for finding in report.findings)
    damage = ", ".join(f"{counts[problem]} {problem}" for problem in sorted(counts) if problem != "unknown")
    text = f"{show_count(report.blobs, 'blob')}: {damage or 'all are there'}"
    if counts["unknown"]:
        text += f"; {show_count(counts['unknown'], 'unknown file')}"
    if report.uploads:
        uploads = show_count(report.uploads, "unfinished upload")
        text += f"\n{uploads}, {show_size(report.upload_bytes)}: pushes that run now or were cut off"
    return text

"""The command line's root: finds the module of a noun, and tells a refusal in one message."""

import importlib
import sys
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from registry import logs
from registry.cli.invocation import Invocation, Refused
from registry.cli.printable import show_text
from registry.cli.version import find_version

NOUNS = {
    "serve": "Run the registry until SIGTERM or Ctrl+C.",
    "user": "Add, change and list users; grant and revoke rights.",
    "robot": "Add, change and list robots: logins for programs.",
    "group": "Add, change and list groups of users.",
    "trust": "Add, change and list trust rules: CI logs in without a password.",
    "repository": "List, show, make, set, delete and restore repositories.",
    "tag": "List tags, show what they pointed to, and go back to that.",
    "manifest": "List, delete and restore manifests.",
    "lifecycle": "Set, try, run and undo lifecycle policies.",
    "audit": "Show who did what, and what was refused.",
    "key": "List and replace the keys that sign tokens.",
    "garbage": "Collect, explain and purge what is deleted or not used.",
    "check": "See whether database and store agree, and change nothing.",
    "scrub": "Read every blob again, and find those that are damaged.",
    "backup": "Save the registry into one file, also while it serves.",
    "restore": "Make a registry of a backup, where none is yet.",
    "doctor": "Examine all that the settings name, and say what to change.",
    "import": "Take over images from another registry's files or bucket.",
    "migrate": "Move the registry to another database and storage.",
    "config": "Show the settings and where each of them comes from.",
}


class Nouns(TyperGroup):
    """Loads a noun's module when its command is used, so that help and completion need no HTTP server's modules."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for noun, summary in NOUNS.items():
            self.add_command(TyperCommand(noun, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        noun, command, rest = super().resolve_command(ctx, args)
        return noun, (noun and load(noun)) or command, rest


def load(noun: str) -> Any:
    """The noun's own command."""
    return typer.main.get_command(importlib.import_module(f"registry.cli.{noun}{'_' * iskeyword(noun)}").app)


app = typer.Typer(
    cls=Nouns,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"entrepot {find_version()}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """A self-hosted OCI container image registry.

    Examples:
      entrepot serve                              serve ./data on 127.0.0.1:5000
      docker push 127.0.0.1:5000/demo/app:1       push to it
      entrepot repository list                    see what is there
      entrepot user add alice --admin             let only those in who log in
      entrepot COMMAND --help                     more about a command

    Settings come from a TOML file (--config), overridden by ENTREPOT_* in the environment, overridden by flags.
    Exit status: 0 done, 1 refused or failed, 2 wrong usage.
    """


def run(invocation: Invocation) -> None:
    """Run one command. Ends with SystemExit."""
    try:
        app(invocation.arguments, prog_name="entrepot", obj=invocation)
    except Refused as refusal:
        lines = map(show_text, str(refusal).split("\n"))  # what others wrote is shown, not obeyed
        typer.echo("entrepot: " + "\n".join(lines), err=True)
        sys.exit(1)


def main() -> None:
    logs.configure("text")  # what is logged beside the work is no part of what a command prints
    run(Invocation.current())

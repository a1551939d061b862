"""The command line's root."""

import typer

from registry import logs
from registry.app import create_app
from registry.config import load
from registry.server import serve as run_server

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """A self-hosted OCI container image registry."""


@app.command()
def serve(host: str = typer.Option(None), port: int = typer.Option(None)) -> None:
    """Run the registry."""
    config, _ = load(flags={"host": host, "port": port})
    logs.configure(config.log_format)
    run_server(create_app(config), config, lambda host, port: typer.echo(f"http://{host}:{port}", err=True))


def main() -> None:
    app()

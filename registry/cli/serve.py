"""`entrepot serve`: the server, and what it says when it starts."""

import sys

import structlog
import typer

from registry import logs
from registry.app import create_app
from registry.cli.banner import make_banner
from registry.cli.invocation import Invocation, Refused
from registry.cli.opening import explained, refuse_other_user
from registry.cli.options import ConfigFile, Host, Port, Workers
from registry.cli.settings import load_config
from registry.cli.version import find_version
from registry.config import Config
from registry.server import CannotServe, refuse_exposure
from registry.server import serve as run_server

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    ctx: typer.Context, host: Host = None, port: Port = None, workers: Workers = None, config_file: ConfigFile = None
) -> None:
    """Run the registry until SIGTERM or Ctrl+C.

    Everything lives in ./data, or where ENTREPOT_DATA says. Until
    ENTREPOT_ANONYMOUS says what strangers may do, it serves this machine only.

    Examples:
      entrepot serve
      entrepot serve --port 5001
      ENTREPOT_ANONYMOUS=pull entrepot serve --host 0.0.0.0
      entrepot serve --config /etc/entrepot.toml
    """
    config, _ = load_config(config_file, {"host": host, "port": port, "workers": workers})
    invocation = ctx.ensure_object(Invocation)
    try:
        refuse_exposure(config)  # before a directory is made for nothing
        refuse_other_user(config, invocation)
        logs.configure(config.log_format)
        with explained(config, invocation):
            run_server(create_app(config), config, lambda host, port: announce(config, host, port))
    except CannotServe as problem:
        raise Refused(str(problem)) from None


def announce(config: Config, host: str, port: int) -> None:
    """Say that requests may come: in words to a person, in one line of the log elsewhere."""
    if config.log_format != "json" and sys.stderr.isatty():
        typer.echo(make_banner(config, host, port, find_version()), err=True)
    else:
        structlog.get_logger().info(
            "listening", host=host, port=port, data=str(config.data.absolute()), version=find_version()
        )

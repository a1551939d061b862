"""`entrepot config`: show."""

import typer

from registry.cli.options import AsJson, ConfigFile, Host, Port, TlsCert, TlsKey, Workers
from registry.cli.output import print_json, print_table
from registry.cli.settings import load_config
from registry.config import PREFIX, Config, hide_password

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show the settings and where each of them comes from."
)


@app.callback()
def config() -> None:
    """Show the settings and where each of them comes from."""


@app.command()
def show(  # noqa: PLR0913 - each is a flag
    *,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Show each setting, its value and its origin: default, file, environment or flag.

    It takes the flags of `entrepot serve`, to show what they would do there.

    Examples:
      entrepot config show
      ENTREPOT_PORT=5001 entrepot config show --config /etc/entrepot.toml --json
    """
    flags = {"host": host, "port": port, "workers": workers, "tls_cert": tls_cert, "tls_key": tls_key}
    config, origins = load_config(config_file, flags)
    values = _effective(config)
    if as_json:
        print_json({"settings": [_document(name, values[name], origins[name]) for name in values]})
        return
    rows = [(name, _show(name, value), origins[name], PREFIX + name.upper()) for name, value in values.items()]
    print_table(("SETTING", "VALUE", "ORIGIN", "IN THE ENVIRONMENT"), rows)


def _effective(config: Config) -> dict[str, object]:
    """What the server will use: paths from the root on, and what follows from other settings; no password."""
    places = {
        "data": str(config.data.absolute()),
        "storage": f"file://{config.storage_path}" if config.bucket is None else config.storage,
        "database": f"sqlite:///{config.database_path}" if config.is_embedded else hide_password(config.database),
    }
    places |= {
        name: str(path.absolute()) for name in ("tls_cert", "tls_key") if (path := getattr(config, name)) is not None
    }
    return {name: _plain(value) for name, value in config.model_dump(mode="json").items()} | places


def _plain(value: object) -> object:
    """60 as it was written, not 60.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _show(name: str, value: object) -> object:
    if name == "anonymous" and value is None:
        return "(unset: protected mode)"
    if value is None:
        return "(unset)"
    return "(empty)" if value == "" else value


def _document(name: str, value: object, origin: str) -> dict[str, object]:
    description = Config.model_fields[name].description
    return {"name": name, "value": value, "origin": origin, "description": description}

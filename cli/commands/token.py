"""`strongroom token`: initialise, list and look into PKCS#11 tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cli.context import module_config, open_session, pinned_uri, repository_of, site_of, token_config
from cli.options import JsonOption
from cli.output import emit, say, table
from cli.pin_options import chosen_pin_source, pin_config
from pki.errors import ConfigurationError, OutputError
from signer.authority.repository import AuthorityRepository
from signer.authority.site_file import TokenEntry, replace_site_file, with_token
from signer.tokens import ModuleConfig, TokenInfo, find_module, init_token, list_tokens, load_module

if TYPE_CHECKING:
    from signer.authority.model import Site

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom token list --module softhsm2")

ModuleOption = Annotated[
    str,
    typer.Option(
        "--module",
        "-m",
        help="A module of the site by name; else a path, or the name of an installed module (softhsm2).",
    ),
]


@app.callback()
def token() -> None:
    """Initialise, list and look into PKCS#11 tokens."""


@app.command(
    "init",
    epilog="Example: strongroom token init release --module softhsm --label release "
    "--so-pin-file so.pin --pin-file user.pin --write",
)
def init(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the site calls the token.")],
    module: ModuleOption,
    label: Annotated[str, typer.Option(help="The token's own label, at most 32 bytes.")],
    serial: Annotated[
        str | None, typer.Option(help="Which token; by default the first that is not initialised.")
    ] = None,
    so_pin_file: Annotated[Path | None, typer.Option(help="File with the security officer's PIN, mode 0600.")] = None,
    so_pin_command: Annotated[str | None, typer.Option(help="Program that prints the security officer's PIN.")] = None,
    no_so_pin: Annotated[bool, typer.Option("--no-so-pin", help="For NSS softokn, which has none.")] = False,
    pin_file: Annotated[Path | None, typer.Option(help="File with the user PIN, mode 0600.")] = None,
    pin_command: Annotated[str | None, typer.Option(help="Program that prints the user PIN.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Add the token to the site file.")] = False,
    dangerously_erase_token: Annotated[
        str | None, typer.Option(metavar="SERIAL", help="Initialise this token again: destroys every key on it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Initialise a token, set its user PIN, and print the lines that pin it by serial in the site file.

    PINs come from files, programs, or the terminal (typed twice); never from the command line itself.
    """
    repository = repository_of(context)
    site = site_of(context, repository)
    config = _module_of(repository, site, module)
    entry = TokenEntry(name, module, "pkcs11:serial=0", pin_config(pin_file, pin_command, repository.root))
    site_text = _check_site_file(repository, site, entry) if write else ""
    user_source = chosen_pin_source(pin_file, pin_command, "New user PIN: ", "--pin-file and --pin-command")
    so_source = None
    if not no_so_pin:
        so_options = "--so-pin-file and --so-pin-command"
        so_source = chosen_pin_source(so_pin_file, so_pin_command, "New security officer PIN: ", so_options)
    made = init_token(
        load_module(config),
        label,
        so_source,
        user_source,
        serial=dangerously_erase_token or serial,
        dangerously_erase=dangerously_erase_token is not None,
    )
    entry = TokenEntry(name, module, str(made.uri()), entry.pin)
    if write:
        _write_entry(repository, site, site_text, entry)
    data = {"name": name, "label": made.label, "serial": made.serial, "toml": entry.to_toml(), "written": write}
    where = f"added to {_site_path(repository, site)}:" if write else f"add to {_site_path(repository, site)}:"
    emit(data, as_json, f"initialised token {made.label!r}, serial {made.serial}\n{where}\n\n{entry.to_toml()}")


def _site_path(repository: AuthorityRepository, site: Site) -> Path:
    return repository.root / "sites" / f"{site.name}.toml"


def _check_site_file(repository: AuthorityRepository, site: Site, entry: TokenEntry) -> str:
    """Before anything is initialised: the site file must take the entry. Returns the file's text."""
    path = _site_path(repository, site)
    text = path.read_text(encoding="utf-8")
    with_token(path, text, entry)
    return text


def _write_entry(repository: AuthorityRepository, site: Site, site_text: str, entry: TokenEntry) -> None:
    path = _site_path(repository, site)
    try:
        replace_site_file(path, site_text, with_token(path, site_text, entry))
    except OutputError as error:
        say(f"the token is initialised; add these lines by hand:\n\n{entry.to_toml()}")
        raise error from None


@app.command("list", epilog="Example: strongroom token list --module softhsm2 --json")
def list_(
    context: typer.Context,
    module: Annotated[
        str | None,
        typer.Option("--module", "-m", help="Only this module: a site's, a path, or an installed one's name."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List every token of the site's modules, or of one module. No PIN is needed."""
    repository, site = _repository_and_site(context, needed=module is None)
    if module is not None:
        modules = {module: _module_of(repository, site, module)}
    elif repository is None or site is None or not site.modules:
        raise ConfigurationError("the site has no modules: add one under [modules], or give --module")
    else:
        modules = {name: module_config(repository, site, name) for name in sorted(site.modules)}
    rows = [
        _row(module_name, info, _site_names(site, info))
        for module_name, config in modules.items()
        for info in list_tokens(load_module(config))
    ]
    headings = ("MODULE", "LABEL", "SERIAL", "IN SITE AS", "STATE")
    cells = [(r["module"], r["label"], r["serial"], ", ".join(r["names"]) or "-", r["state"]) for r in rows]
    emit(
        rows, as_json, table(headings, cells) if rows else "no token; SoftHSM always shows a free one: check the module"
    )


@app.command("info", epilog="Example: strongroom token info release --probe")
def info(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The token, by its name in the site file.")],
    probe: Annotated[
        bool, typer.Option("--probe", help="Log in and find out by real operations what the module can do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a token and its module say about themselves; with --probe also what they really do."""
    repository = repository_of(context)
    site = site_of(context, repository)
    config = token_config(site, name)
    uri = pinned_uri(site, name)
    module = load_module(module_config(repository, site, config.module))
    data: dict[str, Any] = {"name": name, "uri": str(uri), "module": module.identity}
    if probe:
        import json

        from signer.tokens.profiles import profile_to_json

        with open_session(repository, site, name) as session:
            data |= msgspec.structs.asdict(session.token)
            data["profile"] = json.loads(profile_to_json(session.probe_profile()))
    else:
        data |= _described(module, uri.serial, uri.token)
    emit(data, as_json, _lines(data))


def _described(module: Any, serial: str | None, label: str | None) -> dict[str, Any]:
    from signer.tokens.errors import TokenNotFound

    for token_info in list_tokens(module):
        if token_info.serial == serial and label in (None, token_info.label):
            return msgspec.structs.asdict(token_info)
    raise TokenNotFound(f"no token with serial {serial}; is it connected? `strongroom token list` shows those there")


def _lines(data: dict[str, Any]) -> str:
    lines = []
    for key, value in data.items():
        shown = _lines(value).replace("\n", "\n  ") if isinstance(value, dict) else str(value)
        lines.append(f"{key}:\n  {shown}" if isinstance(value, dict) else f"{key}: {shown}")
    return "\n".join(lines)


def _repository_and_site(context: typer.Context, *, needed: bool) -> tuple[AuthorityRepository | None, Site | None]:
    try:
        repository = repository_of(context)
    except ConfigurationError:
        if needed:
            raise
        return None, None
    return repository, site_of(context, repository)


def _module_of(repository: AuthorityRepository | None, site: Site | None, text: str) -> ModuleConfig:
    if "/" in text:
        return ModuleConfig(text)
    if repository is not None and site is not None and text in site.modules:
        return module_config(repository, site, text)
    return ModuleConfig(find_module(text))


def _site_names(site: Site | None, info: TokenInfo) -> list[str]:
    if site is None:
        return []
    uris = {name: pinned_uri(site, name) for name in sorted(site.tokens)}
    return [n for n, uri in uris.items() if uri.serial == info.serial and uri.token in (None, info.label)]


def _row(module: str, info: TokenInfo, names: list[str]) -> dict[str, Any]:
    if not info.initialised:
        state = "not initialised"
    elif not info.user_pin_set:
        state = "no user PIN"
    elif info.user_pin_locked:
        state = "user PIN locked"
    elif info.user_pin_final_try:
        state = "one try left for the user PIN"
    else:
        state = "ready"
    row = {"module": module, "label": info.label, "serial": info.serial, "names": names, "state": state}
    return row | {"manufacturer": info.manufacturer, "model": info.model}

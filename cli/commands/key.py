"""`strongroom key`: the list of its commands.

Those in key_changes.py change keys, those in key_custody.py know of copies and backups, those in key_reports.py read.
"""

from __future__ import annotations

import typer

from cli.commands import key_changes, key_custody, key_group, key_reports

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom key list")


@app.callback()
def key() -> None:
    """Generate, list, audit and retire keys."""


_EXAMPLES = (
    ("generate", key_changes.generate, "generate application-release --product pump-x2 --token release --activate"),
    ("list", key_reports.list_keys, "list --csv"),
    ("show", key_reports.show, "show sr:application-release:pump-x2:0001"),
    ("state", key_changes.state, "state sr:compat:pump-x2:0001 suspended --reason 'token is being moved'"),
    ("audit", key_reports.audit, "audit release"),
    ("expiring", key_reports.expiring, "expiring --within 90d"),
    ("cbom", key_reports.cbom, "cbom --out keys.cdx.json"),
    ("export", key_reports.export, "export sr:compat:pump-x2:0001 --out compat.pub.pem"),
    (
        "destroy",
        key_changes.destroy,
        "destroy sr:grant:pump-x2:0001 --token release --yes-destroy-this-key sr:grant:pump-x2:0001",
    ),
    (
        "group-key",
        key_group.group_key,
        "group-key sr:group-agreement:pump-x2:0001 --token release --out maker.group.json --public-out group.pem "
        "--station station=station.group.json",
    ),
    ("backup-info", key_custody.backup_info, "backup-info root-1.backup.json"),
    ("lost", key_custody.lost, "lost sr:root:-:0001 --token root-a --reason 'fell into the lake'"),
    ("end-backup", key_custody.end_backup, "end-backup root-1.backup.json --reason 'stick shredded'"),
    ("backup-store", key_reports.backup_store, "backup-store --out keys-backup.sqlite"),
    ("upgrade-store", key_changes.upgrade_store, "upgrade-store --backup keys-before-upgrade.sqlite"),
)

for _name, _command, _example in _EXAMPLES:
    app.command(_name, epilog=f"Example: strongroom key {_example}")(_command)

"""The commented start of a product file."""

from __future__ import annotations

import uuid

from pki.key_specs import KEY_SPECS, key_label
from pki.roles import Role

_TEMPLATE = """\
# Product {name}. Checked by `strongroom doctor`; every package and trust bundle of the product is made from this file.
format = 1
name = "{name}"
id = "{id}"
board = "{board}"                  # boards/{board}.toml
hardware_revision_min = 1
hardware_revision_max = 1

[encryption]
recipient = "device"               # "grant" for a fleet: one package, a grant for each device (docs/spec/grant.md);
                                   # "group", with group_public_key = "public/lot-7.pem": docs/spec/package.md, 6

[trust]
root_threshold = 2

[trust.limits]                     # security versions that the trust bundle allows: a stolen key cannot go beyond
application = {{ minimum = 1, maximum = 1000 }}
bootloader = {{ minimum = 1, maximum = 1000 }}
factory-test = {{ minimum = 0, maximum = 1000 }}

# [[trust.revoked]]                # a revoked key leaves the lists below, and stays here: docs/spec/trust-bundle.md
# label = "sr:application-release:{name}:0009"
# stop = false                     # true: an application that it signed STOPS on every device

[keys]                             # each key: the site's name of its token, and its label there
root = [
    {{ token = "root-1", label = "{root_1}" }},
    {{ token = "root-2", label = "{root_2}" }},
    {{ token = "root-3", label = "{root_3}" }},
]
application-release = [{{ token = "release", label = "{application}" }}]
bootloader-release = [             # the three built into the pre-bootloader for life; two sign each bootloader
    {{ token = "root-1", label = "{boot_1}" }},
    {{ token = "root-2", label = "{boot_2}" }},
    {{ token = "root-3", label = "{boot_3}" }},
]
production = [{{ token = "release", label = "{production}" }}]
compat = {{ token = "release", label = "{compat}" }}
# grant = [{{ token = "release", label = "{grant}" }}]
# service = [{{ token = "release", label = "{service}" }}]            # return for repair, decommissioning
# package-wrap = [{{ token = "release", label = "{package_wrap}" }}]  # keeps content keys for later grants
"""


def product_template(name: str, product_id: uuid.UUID, board: str) -> str:
    """The text of a new `products/NAME.toml`. Raises ConfigurationError if `name` cannot stand in a key label."""

    def label(role: Role, sequence: int = 1) -> str:
        return key_label(KEY_SPECS[role], name, sequence)

    return _TEMPLATE.format(
        name=name,
        id=product_id,
        board=board,
        root_1=label(Role.ROOT, 1),
        root_2=label(Role.ROOT, 2),
        root_3=label(Role.ROOT, 3),
        application=label(Role.APPLICATION_RELEASE),
        boot_1=label(Role.BOOTLOADER_RELEASE, 1),
        boot_2=label(Role.BOOTLOADER_RELEASE, 2),
        boot_3=label(Role.BOOTLOADER_RELEASE, 3),
        production=label(Role.PRODUCTION),
        compat=label(Role.COMPAT),
        grant=label(Role.GRANT),
        service=label(Role.SERVICE),
        package_wrap=label(Role.PACKAGE_WRAP),
    )

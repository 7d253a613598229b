"""What commands that make grants share: the package with its signer, the devices, the keys, and the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cli.content_keys import ProductContentKeys
from cli.output import progress
from cli.package_keys import ROLE_OF_TYPE, PackageKeys, PermittedKey
from pki.errors import InputRefused, SignatureInvalid, WrongTarget
from pki.roles import Role
from pki.values import PublicKey, Signature
from signer.authority.development_material import refuse_fake_path
from signer.grants.batch import GrantBatch
from signer.grants.devices import DeviceList, device_list
from signer.grants.grantable import GrantablePackage, grantable_package
from signer.grants.making import EphemeralScalar, GrantOrder, SignBatch, make_grants
from signer.grants.rules import GrantRefused
from signer.grants.workers import core_count
from signer.new_file import NewFile
from signer.packages.layout import SIGNATURE_OFFSETS, SIGNATURE_SIZE_BYTES
from signer.packages.manifest import tbs_digest
from signer.packages.progress import ProgressCount
from signer.signing_key import verify_signature

if TYPE_CHECKING:
    from signer.authority.model import Product
    from signer.authority.repository import AuthorityRepository
    from signer.store.key_store import KeyStore

_BATCH_ID_SIZE_BYTES = 16


class GrantInputs(msgspec.Struct, frozen=True):
    """What the command line named: a package, a list of devices, a file to write, how many processes may work."""

    package: Path
    devices: Path
    output: Path
    worker_count: int | None


def product_of_id(repository: AuthorityRepository, product_id: bytes, what: str) -> Product:
    """The authority's product of this id. Raises WrongTarget if it has none."""
    for name in repository.product_names():
        product = repository.product(name)
        if product.id_bytes == product_id:
            return product
    raise WrongTarget(f"{what} is for product {product_id.hex()}, which no product here has")


def signed_package(repository: AuthorityRepository, product: Product, path: Path) -> GrantablePackage:
    """The package, its signatures verified under keys that the product's file names for its type.

    Whether those keys may still sign is no question here: the package was signed. Raises GrantRefused GR-10, GR-11.
    """
    from cli.context import open_store

    package = grantable_package(path)
    with open_store(repository) as store:
        known = _public_keys(store, product, ROLE_OF_TYPE[package.manifest.terms.package_type])
    digest = tbs_digest(package.head)
    for key_id, offset in zip(package.manifest.signer_key_ids, SIGNATURE_OFFSETS, strict=False):
        if key_id not in known:
            raise GrantRefused("GR-11", f"{path} is signed by key {key_id.hex()}, which {product.name!r} does not have")
        try:
            verify_signature(known[key_id], digest, Signature(package.head[offset : offset + SIGNATURE_SIZE_BYTES]))
        except SignatureInvalid:
            raise GrantRefused("GR-11", f"{path}: its signature does not verify under key {key_id.hex()}") from None
    return package


def grant_key(keys: PackageKeys, label: str | None) -> PermittedKey:
    """The product's grant key of this label, or the first that may sign now. Raises InputRefused, PolicyViolation."""
    permitted, refused = keys.permitted(Role.GRANT)
    named = [key for key in permitted if label in (None, key.label)]
    if named:
        return named[0]
    if refused:
        raise refused[0]
    raise InputRefused(
        f"product {keys.product.name!r} has no grant key {label!r} in its file"
        if label
        else f"product {keys.product.name!r} names no key under [keys] grant; a trust bundle must name it too"
    )


def grant_key_of_id(keys: PackageKeys, key_id: bytes) -> PermittedKey:
    """The product's grant key that a prepared batch names, if it may sign now. Raises PolicyViolation, InputRefused."""
    permitted, refused = keys.permitted(Role.GRANT)
    for key in permitted:
        if key.public_key.key_id == key_id:
            return key
    if refused:
        raise refused[0]
    raise InputRefused(f"the batch names grant key {key_id.hex()}, which {keys.product.name!r} does not have")


def make(
    keys: PackageKeys, package: GrantablePackage, inputs: GrantInputs, key: PublicKey, sign: SignBatch
) -> GrantBatch:
    """Read the devices, draw the ephemeral pair, unwrap the content key, and write the file, whole or not at all."""
    for path in (inputs.package, inputs.devices):
        refuse_fake_path(keys.repository.authority.environment, path)
    vault = ProductContentKeys(keys.repository, keys.product, keys.keys, keys.when)
    vault.require_kept(package)
    with NewFile(inputs.output) as file, _devices(inputs) as devices:
        random = keys.keys.session(keys.product.keys.compat.token).random
        order = GrantOrder(package, random(_BATCH_ID_SIZE_BYTES), key.key_id)
        content_key = vault.unwrapped(package)
        with EphemeralScalar(random) as ephemeral, progress("granting", devices.count) as bar:
            workers = inputs.worker_count or core_count()
            batch = make_grants(order, ephemeral, content_key, devices, file, sign, workers, lambda done, _: bar(done))
        file.publish()
    return batch


@contextmanager
def _devices(inputs: GrantInputs) -> Iterator[DeviceList]:
    """The list, read and sorted; its bar is gone when the work with it begins."""
    try:
        size_bytes = inputs.devices.stat().st_size
    except OSError as error:
        raise InputRefused(f"the list of devices {inputs.devices}: cannot be read ({error.strerror})") from None
    with ExitStack() as stack:
        with progress("reading devices", size_bytes) as bar:
            count = ProgressCount(lambda done, _: bar(done), size_bytes)
            devices = stack.enter_context(device_list(inputs.devices, inputs.output.parent, count.advance))
        yield devices


def grant_public_keys(repository: AuthorityRepository, product: Product) -> dict[bytes, PublicKey]:
    """The public halves of the product's grant keys by key id, whatever their state. Raises KeyStoreError."""
    from cli.context import open_store

    with open_store(repository) as store:
        return _public_keys(store, product, Role.GRANT)


def _public_keys(store: KeyStore, product: Product, role: Role) -> dict[bytes, PublicKey]:
    keys = [store.key(config.label).public_key for config in product.keys.of_role(role)]
    return {key.key_id: key for key in keys if key is not None}

"""How a ceremony signs a prepared package: through the signing service, or in development with the keys themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.context import SigningKeys, now
from cli.package_keys import ROLE_OF_TYPE, PackageKeys
from pki.errors import InputRefused, WrongTarget

if TYPE_CHECKING:
    from ceremonies.acts.packages import SignPackage
    from signer.authority.model import Site
    from signer.authority.repository import AuthorityRepository
    from signer.tokens.session import Session


def sign_directly(repository: AuthorityRepository, keys: SigningKeys, act: SignPackage, out: Path) -> None:
    """With exactly the keys that the plan names. Raises InputRefused, WrongTarget, PolicyViolation, TokenError."""
    from signer.packages.prepared_file import PreparedFile
    from signer.packages.sign import sign_package

    prepared = repository.root / act.prepared
    product = repository.product(act.product)
    with PreparedFile(prepared) as source:
        manifest = source.manifest
    if manifest.terms.product_id != product.id_bytes:
        raise WrongTarget(f"{act.prepared} was prepared for product {manifest.terms.product_id.hex()}")
    chosen = PackageKeys(repository, product, keys, now())
    permitted, refused = chosen.permitted(ROLE_OF_TYPE[manifest.terms.package_type])
    by_label = {key.label: key for key in permitted}
    for label in act.signers:
        if label not in by_label:
            raise refused[0] if refused else InputRefused(f"key {label} cannot sign this type of package")
    sign_package(prepared, out, [by_label[label] for label in act.signers], chosen.compat())


def sign_by_request(
    repository: AuthorityRepository, site: Site, keys: SigningKeys, act: SignPackage, out: Path
) -> None:
    """By the signing service, which decides by the policies, logs, signs once, and gives the same package again."""
    from cli.signed_files import read_signed
    from cli.signing_service import service_with
    from signer.service.outputs import hand_out_copy
    from signer.service.values import SignOrder

    root = repository.root
    order = SignOrder(
        request=read_signed(root / str(act.request), "request"),
        approvals=tuple(read_signed(root / path, "approval") for path in act.approvals),
        prepared=root / act.prepared,
        sbom=None if act.sbom is None else root / act.sbom,
        test_evidence=None if act.tests is None else root / act.tests,
    )
    with _ReleaseKeys(repository, site, keys) as release_keys:
        signed = service_with(repository, release_keys).sign(order)
        hand_out_copy(signed.path, signed.package_digest, out)


class _ReleaseKeys(SigningKeys):
    """Keys that the service may sign with, on the sessions that the ceremony has unlocked."""

    def __init__(self, repository: AuthorityRepository, site: Site, ceremony_keys: SigningKeys) -> None:
        super().__init__(repository, site, now(), for_releases=True)
        self._ceremony_keys = ceremony_keys

    def session(self, token_name: str) -> Session:
        """The ceremony's own."""
        return self._ceremony_keys.session(token_name)

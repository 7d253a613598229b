"""What a prepared package says, as fields of a request; and whether a signed request would be taken here and now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pki.errors import ConfigurationError, InputRefused, PolicyViolation, WrongTarget
from policies.authentication import AuthenticRequest, SignedStatement, authenticate_request
from policies.object_request import ObjectRequest
from policies.request import SigningRequest
from signer.packages.file_blocks import blocks_of
from signer.packages.manifest import tbs_digest
from signer.packages.prepare import SBOM_SIZE_BYTES_MAX
from signer.packages.prepared_file import PreparedFile
from signer.service.comparison import TEST_EVIDENCE_SIZE_BYTES_MAX, compare, compare_head, target_text
from signer.service.values import TYPE_OF_KIND, SignOrder

if TYPE_CHECKING:
    from signer.authority.repository import AuthorityRepository

_KIND_OF_TYPE = {package_type: kind for kind, package_type in TYPE_OF_KIND.items()}


class EvidenceFiles(msgspec.Struct, frozen=True):
    """What goes along with a package: SBOM and test results, each or none."""

    sbom: Path | None = None
    tests: Path | None = None


def request_for(
    repository: AuthorityRepository,
    prepared: Path,
    product_name: str,
    requester: str,
    not_after: datetime,
    files: EvidenceFiles,
) -> SigningRequest:
    """The request to sign a prepared package under the policies in force.

    Raises WrongTarget for a package of another product, InputRefused, FormatError, ConfigurationError.
    """
    product = repository.product(product_name)
    fields = _package_values(prepared)
    if fields["product_id"] != product.id_bytes.hex():
        raise WrongTarget(f"{prepared} was prepared for product id {fields['product_id']}, not {product_name!r}")
    return SigningRequest(
        **fields,
        environment=repository.authority.environment.value,
        product=product_name,
        sbom_digest=_file_digest(files.sbom, "the SBOM", SBOM_SIZE_BYTES_MAX),
        test_evidence_digest=_file_digest(files.tests, "the test evidence", TEST_EVIDENCE_SIZE_BYTES_MAX),
        not_after=not_after,
        policy_digest=repository.policy_set().digest,
        requester=requester,
    )


def require_service_would_take(
    repository: AuthorityRepository, request: SigningRequest, prepared: Path, files: EvidenceFiles
) -> None:
    """The signing service's own comparison, before anybody signs. Raises PolicyViolation SV-10 to SV-20, SV-23."""
    order = SignOrder(
        request=SignedStatement(request.encode(), b""),
        approvals=(),
        prepared=prepared,
        sbom=files.sbom,
        test_evidence=files.tests,
    )
    compare(request, order, _product_ids(repository))


def require_same_package(repository: AuthorityRepository, request: SigningRequest, prepared: Path) -> None:
    """What an approver can check with the package alone. Raises PolicyViolation SV-10 to SV-17, InputRefused."""
    from cli.package_fields import read_package

    with PreparedFile(prepared) as source:
        compare_head(request, source.manifest, source.head, _product_ids(repository))
    read_package(prepared)


def accepted_request(repository: AuthorityRepository, signed: SignedStatement, now: datetime) -> AuthenticRequest:
    """A request that is authentic, and made for this authority as it is now.

    Raises what `authenticate_request` raises, and PolicyViolation SV-03 (environment), SV-04 (policies changed), as the
    signing service would.
    """
    authentic = authenticate_request(signed, repository.allowed_signers(), repository.people, now)
    require_for_here(repository, authentic.request)
    return authentic


def require_for_here(repository: AuthorityRepository, request: SigningRequest | ObjectRequest) -> None:
    """Raises PolicyViolation SV-03 (environment), SV-04 (policies changed)."""
    environment = repository.authority.environment.value
    if request.environment != environment:
        raise PolicyViolation("SV-03", f"the request is for {request.environment}, this is {environment}")
    if request.policy_digest != repository.policy_set().digest:
        raise PolicyViolation("SV-04", "the policies have changed since the request was made; ask for a new request")


def fields_of_package(repository: AuthorityRepository, prepared: Path) -> dict[str, Any]:
    """What a request for this package would have in its JSON, as far as the package says it. Raises WrongTarget."""
    values = _package_values(prepared)
    for name in repository.product_names():
        if repository.product(name).id_bytes.hex() == values["product_id"]:
            texts = {key: value.hex() for key, value in values.items() if isinstance(value, bytes)}
            key_ids = [key_id.hex() for key_id in values["key_ids"]]
            return {**values, **texts, "key_ids": key_ids, "product": name}
    raise WrongTarget(f"{prepared} was prepared for product id {values['product_id']}, which no product here has")


def is_statement(path: Path) -> bool:
    """Whether a file is JSON, to judge by its first byte, and no package."""
    try:
        with path.open("rb") as stream:
            return stream.read(1) == b"{"
    except OSError as error:
        raise InputRefused(f"cannot read {path}: {error.strerror}") from None


def _package_values(prepared: Path) -> dict[str, Any]:
    """What request and head share, as values of a SigningRequest."""
    with PreparedFile(prepared) as source:
        manifest, head = source.manifest, source.head
    terms = manifest.terms
    return {
        "head_digest": tbs_digest(head).value,
        "image_digest": manifest.image_digest,
        "kind": _KIND_OF_TYPE[terms.package_type],
        "product_id": terms.product_id.hex(),
        "version": str(terms.image_version),
        "security_version": terms.security_version,
        "target": target_text(terms),
        "key_ids": manifest.signer_key_ids,
    }


def _product_ids(repository: AuthorityRepository) -> Callable[[str], bytes | None]:
    def product_id(name: str) -> bytes | None:
        try:
            return repository.product(name).id_bytes
        except ConfigurationError:
            return None

    return product_id


def _file_digest(path: Path | None, what: str, size_bytes_max: int) -> bytes | None:
    if path is None:
        return None
    state = hashlib.sha256()
    for block in blocks_of(path, size_bytes_max, what):
        state.update(block)
    return state.digest()

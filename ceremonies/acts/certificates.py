"""The act on certificates: a lot's issuing CA, certified by a production CA, whose tokens are both in the room."""

from __future__ import annotations

import base64
import textwrap
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.acts.keys import public_half
from ceremonies.rules import NOT_THIS_CEREMONYS
from ceremonies.workplace import reason_of
from pki.errors import CeremonyAborted, FormatError
from pki.roles import Role

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace
    from signer.certificates import CertificateKey
    from signer.store.values import KeyRecord

SERIAL_ENTROPY_SIZE_BYTES = 20
_NameText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class CertifyLotCa(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The certificate of a lot's CA: its own key asks for it, the production CA's key issues it.

    `ca_certificate` is the production CA's, a reviewed PEM file; `days` of validity.
    """

    NAME: ClassVar[str] = "certify-lot-ca"

    label: str
    token: str
    ca_label: str
    ca_token: str
    ca_certificate: str
    organization: _NameText
    common_name: _NameText
    days: Annotated[int, msgspec.Meta(ge=1, le=20 * 365)]
    artefact: str

    def text(self) -> str:
        """For the script."""
        return (
            f"The key {self.label} on token {self.token} asks for a certificate as {self.common_name} of "
            f"{self.organization}; {self.ca_label} on token {self.ca_token} issues it for {self.days} days, as "
            f"{self.artefact}."
        )

    def tokens(self) -> tuple[str, ...]:
        """Of both keys."""
        return (self.token, self.ca_token)

    def files(self) -> tuple[str, ...]:
        """The issuer's certificate."""
        return (self.ca_certificate,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """Both keys can sign then."""
        foreseen.require_signing(self.label, Role.LOT_CA, self.token)
        foreseen.require_signing(self.ca_label, Role.PRODUCTION_CA, self.ca_token)
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Issue and record it, or take what an interrupted run of this step had recorded. The file comes last."""
        record = place.store.key(self.label)
        held = record.certificate
        if held is None:
            der = self._issued(place, record)
            record = place.store.set_certificate(record.cka_id, der, place.change(step))
        elif held.added.reason != reason_of(place.ceremony, step):
            raise CeremonyAborted(NOT_THIS_CEREMONYS, f"key {self.label} has a certificate that another act made")
        else:
            der = held.der
        place.artefacts.write(self.artefact, _pem(der))
        return Outcome(
            {
                "label": self.label,
                "ca_label": self.ca_label,
                "organization": self.organization,
                "common_name": self.common_name,
                "days": self.days,
                "artefact": self.artefact,
            },
            {**public_half(record), "certificate": der.hex()},
        )

    def _issued(self, place: Workplace, record: KeyRecord) -> bytes:
        from pki.x509_names import DistinguishedName
        from pki.x509_profiles import LOT_CA
        from signer.certificates import IssueOrder, create_request, issue_from_request

        issuer = _der(place.reviewed_file(self.ca_certificate))
        ca = place.store.key(self.ca_label)
        name = DistinguishedName(organization=self.organization, common_name=self.common_name)
        key: CertificateKey = place.certificate_key(self.label, Role.LOT_CA, record.product, self.token)
        ca_key: CertificateKey = place.certificate_key(self.ca_label, Role.PRODUCTION_CA, ca.product, self.ca_token)
        entropy = place.session(self.ca_token).random(SERIAL_ENTROPY_SIZE_BYTES)
        order = IssueOrder(LOT_CA, name, entropy, self.days)
        return issue_from_request(ca_key, issuer, order, create_request(key, name), place.now())


def _der(pem: bytes) -> bytes:
    from pki.x509_parse import certificate_der

    try:
        return certificate_der(pem)
    except FormatError as error:
        raise FormatError("ca_certificate", 0, f"no certificate: {error.reason}") from None


def _pem(der: bytes) -> bytes:
    """RFC 7468, section 5."""
    lines = textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]).encode("ascii")

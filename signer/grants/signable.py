"""A prepared batch of grants, as the signing service takes it (docs/spec/object-requests.md, kind `grant-batch`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pki.errors import InputRefused
from pki.roles import Role
from pki.values import Digest, PublicKey, Signature
from policies.object_request import Fact
from signer.grants.batch import GrantBatch, parse_batch
from signer.grants.grantable import grantable_package
from signer.grants.rules import GrantRefused
from signer.grants.signing import prepared_batch


class SignableGrants(msgspec.Struct, frozen=True):
    """A batch whose file was verified whole, and the version of the package that it grants."""

    batch: GrantBatch
    version: str
    kind: Literal["grant-batch"] = "grant-batch"
    role: Role = Role.GRANT

    @property
    def product_id(self) -> bytes:
        """16 bytes."""
        return self.batch.product_id

    @property
    def digest(self) -> Digest:
        """What is signed; through the root it covers every grant."""
        return self.batch.digest

    @property
    def signer_key_id(self) -> bytes:
        """Whom the batch names."""
        return self.batch.signer_key_id

    @property
    def facts(self) -> Mapping[str, Fact]:
        """What people and policies are told."""
        return {
            "batch_id": self.batch.batch_id.hex(),
            "devices": self.batch.tree_size,
            "head_hash": self.batch.head_hash.hex(),
            "version": self.version,
        }

    def with_signature(self, signature: Signature) -> bytes:
        """The signed batch alone: `sign_prepared` puts it into the file."""
        return self.batch.with_signature(signature)


class GrantBatchReader:
    """Reads the prepared file of grants, and the package that it is for."""

    def prepared(self, files: Sequence[Path]) -> SignableGrants:
        """Raises GrantRefused GR-11 for another package, GR-38 for a file that is signed; GrantInvalid, FormatError."""
        if len(files) != 2:
            raise InputRefused(f"a batch of grants is read with its package: two files, not {len(files)}")
        prepared, package = files
        granted = grantable_package(package)
        batch = prepared_batch(prepared)
        if batch.head_hash != granted.head_hash or batch.product_id != granted.product_id:
            raise GrantRefused("GR-11", f"{prepared} grants another package than {package}")
        return SignableGrants(batch, str(granted.manifest.terms.image_version))

    def accepted(self, data: bytes, key: PublicKey) -> None:
        """Raises GrantInvalid, SignatureInvalid."""
        parse_batch(data).verify(key)

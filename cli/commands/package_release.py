"""`strongroom package sign --request`, `release` and `verify-evidence`: from a decision to what anybody can check."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import SigningKeys, now, operator, repository_of, site_of
from cli.options import JsonOption, OutputOption
from cli.output import emit, progress, read_input
from pki.errors import ConfigurationError, InputRefused, PolicyViolation, VerificationError, WrongTarget

if TYPE_CHECKING:
    from signer.authority.repository import AuthorityRepository
    from signer.log.audit_log import TileLog
    from signer.service.proofs import ProvenTogether
    from signer.service.release import Prove
    from signer.service.values import SignedRelease

_EVIDENCE_SIZE_BYTES_MAX = 1024 * 1024
_KEY_SIZE_BYTES_MAX = 64 * 1024
_LOG_KEY_FILE = "log.pub.pem"


def sign_by_request(
    context: typer.Context,
    prepared: Path,
    product: str | None,
    out: Path | None,
    request: Path,
    approvals: Sequence[Path],
    sbom: Path | None,
    tests: Path | None,
    as_json: bool,
) -> None:
    """What `package sign --request` does. Raises whatever the service refuses with, and SV-40."""
    from cli.signed_files import read_signed
    from cli.signing_service import signing_service
    from policies.request import decode_request
    from signer.service.outputs import hand_out_copy
    from signer.service.values import SignOrder

    order = SignOrder(
        request=read_signed(request, "request"),
        approvals=tuple(read_signed(path, "approval") for path in approvals),
        prepared=prepared,
        sbom=sbom,
        test_evidence=tests,
    )
    if product is not None and decode_request(order.request.statement).product != product:
        raise WrongTarget(f"{request} is not for product {product!r}")
    if out is not None and repository_of(context).authority.environment.value == "production":
        raise PolicyViolation("SV-40", "in production a package leaves by `strongroom package release`: omit --out")
    with signing_service(context) as service, progress("signing", 100) as bar:
        signed = service.sign(order, lambda done, total: bar(done * 100 // max(total, 1)))
    if out is not None:
        hand_out_copy(signed.path, signed.package_digest, out)
    _emit_signed(signed, out, as_json)


def _emit_signed(signed: SignedRelease, out: Path | None, as_json: bool) -> None:
    data = {
        "request_digest": signed.request_digest.hex(),
        "signed_digest": signed.head_digest.hex(),
        "package_digest": signed.package_digest.hex(),
        "size_bytes": signed.package_size_bytes,
        "kept": str(signed.path),
        "file": None if out is None else str(out),
        "policy_ids": list(signed.policy_ids),
        "log_entries": [signed.intent_index, signed.result_index],
        "repeated": signed.repeated,
    }
    lines = [
        "signed already, by an earlier call; no token was asked" if signed.repeated else "signed, accepted and logged",
        f"request {data['request_digest']}",
        f"package {data['package_digest']}, {signed.package_size_bytes} bytes",
        f"allowed by {', '.join(signed.policy_ids)}; log entries {signed.intent_index} and {signed.result_index}",
        "Next: `strongroom package release` hands it out with its evidence",
    ]
    emit(data, as_json, "\n".join(lines))


def release(
    context: typer.Context,
    request: Annotated[Path, typer.Argument(help="The request that was signed for.")],
    out: OutputOption,
    evidence: Annotated[
        Path | None,
        typer.Option(help="The evidence file to write; by default beside the package.", show_default=False),
    ] = None,
    witnessed: Annotated[
        bool | None,
        typer.Option(
            "--witnessed/--not-witnessed",
            help="Whether a witness must have cosigned the log; by default in production.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hand out a package that the signing service has signed, with one evidence file that anybody can check offline.

    The same call again gives the same files.
    """
    from cli.signing_service import history_of, log_of, shelf_of
    from policies.statement import STATEMENT_SIZE_BYTES_MAX
    from signer.service.release import ReleaseDesk

    repository = repository_of(context)
    in_production = repository.authority.environment.value == "production"
    if in_production and witnessed is False:
        raise PolicyViolation("SV-42", "in production a witness must have seen the signature: omit --not-witnessed")
    digest = hashlib.sha256(read_input(request, "request", STATEMENT_SIZE_BYTES_MAX)).digest()
    with SigningKeys(repository, site_of(context, repository), now()) as keys:
        log = log_of(keys)
        desk = ReleaseDesk(
            log=log,
            shelf=shelf_of(repository),
            history=history_of(repository),
            prove=_prover(repository, log, in_production if witnessed is None else witnessed),
            clock=now,
            actor=operator(),
        )
        released = desk.release(digest, out, evidence or _evidence_path(out))
    data = {
        "product": released.product,
        "kind": released.kind,
        "version": released.version,
        "package": str(released.package),
        "package_digest": released.signed.package_digest.hex(),
        "evidence": str(released.evidence),
        "evidence_digest": released.evidence_digest.hex(),
        "kept": str(released.kept),
        "witnesses": list(released.witnesses),
        "repeated": released.repeated,
    }
    lines = [
        f"released {released.kind} {released.version} of {released.product}: {released.package}",
        f"evidence {released.evidence}, kept as {released.kept}",
        "Next: commit `releases/`; `strongroom package verify-evidence` checks it, without this authority too",
    ]
    emit(data, as_json, "\n".join(lines))


def _evidence_path(out: Path) -> Path:
    return out.with_name(f"{out.name.removesuffix('.srp')}.evidence.json")


def _prover(repository: AuthorityRepository, log: TileLog, witnessed: bool) -> Prove:
    from signer.log.cosignature import WitnessKey
    from signer.service.proofs import prove_together, prove_witnessed

    config = repository.authority.log
    witnesses = [WitnessKey.parse(text) for text in config.witnesses] if config is not None else []
    if witnessed and not witnesses:
        raise ConfigurationError(
            "[log] of strongroom.toml has no `witnesses`, and one must have seen the signature; `strongroom audit "
            "witness new` makes one on another machine"
        )

    def prove(indices: Sequence[int]) -> ProvenTogether:
        if witnessed:
            return prove_witnessed(log, indices, witnesses)
        return prove_together(log, indices)

    return prove


def verify_evidence(
    context: typer.Context,
    evidence: Annotated[Path, typer.Argument(help="The evidence file.")],
    package: Annotated[Path, typer.Argument(metavar="PKG", help="The package that it is about (.srp).")],
    allowed_signers: Annotated[
        Path | None, typer.Option(help="Your own copy; by default the authority's.", show_default=False)
    ] = None,
    log_key: Annotated[
        Path | None, typer.Option(help="The log's public key, PEM; by default the authority's.", show_default=False)
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(metavar="VKEY", help="A witness's verifier key (repeat); by default the authority's."),
    ] = None,
    witnesses_min: Annotated[int, typer.Option(min=0, max=16, help="How many of them must have cosigned.")] = 0,
    approvals_min: Annotated[int, typer.Option(min=0, max=16, help="How many approvals there must be.")] = 0,
    signer_key: Annotated[
        list[Path] | None, typer.Option(help="A public key, PEM, that the package may be signed by (repeat).")
    ] = None,
    sbom: Annotated[Path | None, typer.Option(help="The SBOM that came with the release.")] = None,
    policies: Annotated[Path | None, typer.Option(help="The folder of the policy set that decided.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release's evidence: who asked, who agreed, what decided, what was logged. Needs no network and no token.

    `verifiers/release_evidence.py` is the same check as one file, for whoever does not have Strongroom.
    """
    from verifiers.release_evidence import EvidenceRefused, Means, verify_release

    allowed, key_file, vkeys = _own_copies(context, allowed_signers, log_key, witness)
    means = Means(
        allowed_signers=allowed,
        log_key=read_input(key_file, "public key of the log", _KEY_SIZE_BYTES_MAX),
        witnesses=vkeys,
        witnesses_min=witnesses_min,
        approvals_min=approvals_min,
        signer_keys=tuple(read_input(path, "public key", _KEY_SIZE_BYTES_MAX) for path in signer_key or ()),
        sbom=sbom,
        policies=policies,
    )
    content = read_input(evidence, "evidence", _EVIDENCE_SIZE_BYTES_MAX)
    try:
        report = verify_release(content, package, means)
    except EvidenceRefused as error:
        raise VerificationError(str(error)) from None
    except OSError as error:
        raise InputRefused(f"{error.filename}: cannot be read ({error.strerror})") from None
    lines = [
        f"verified: {report['kind']} {report['version']} of {report['product']}, for {report['environment']}",
        f"asked for by {report['requester']}, approved by {', '.join(report['approvers']) or 'nobody'}",
        f"signed at {report['signed_at']}, allowed by {', '.join(report['policy_ids'])}",
        f"log entries {' and '.join(map(str, report['log_entries']))}, "
        f"witnessed by {', '.join(report['witnesses']) or 'nobody'}",
    ]
    emit({"verified": True, **report}, as_json, "\n".join(lines))


def _own_copies(
    context: typer.Context, allowed: Path | None, log_key: Path | None, witness: list[str] | None
) -> tuple[Path, Path, tuple[str, ...]]:
    """What the caller named; the authority is looked for only where something was left out."""
    if allowed is not None and log_key is not None:
        return allowed, log_key, tuple(witness or ())
    from signer.authority.repository import ALLOWED_SIGNERS_FILE

    repository = repository_of(context)
    log = repository.authority.log
    if log_key is None:
        if repository.log_path is None:
            raise ConfigurationError("the authority has no [log]: name the log's public key with --log-key")
        log_key = repository.log_path / _LOG_KEY_FILE
    vkeys = tuple(witness) if witness is not None else tuple(log.witnesses) if log is not None else ()
    return allowed or repository.root / ALLOWED_SIGNERS_FILE, log_key, vkeys

"""Chapter 1: an authority, its people, its security modules, its log, and the keys that need no ceremony."""

from __future__ import annotations

from demo.stage import Stage, expect, write_fake_pin
from demo.story import Step, Story

PRODUCT = "pump-x2"
BOARD = "stm32f405-full"
ROOT_TOKENS = ("root-1", "root-2", "root-3")
TOKENS = (*ROOT_TOKENS, "release", "ca", "log")
REQUESTER = "rita"
APPROVERS = ("quinn", "sam")
LOG_KEY = "sr:log:-:0001"

_ORGANIZATION = "Example Pumps"
_EVERY_PRODUCT = "-"


_PEOPLE = """\
format = 1
people = [
    { id = "ada", name = "Ada Adams", roles = ["operator"] },
    { id = "bob", name = "Bob Baker", roles = ["witness"] },
    { id = "cy", name = "Cy Clark", roles = ["witness", "auditor"] },
    { id = "dan", name = "Dan Davis", roles = ["custodian"] },
    { id = "eve", name = "Eve Evans", roles = ["custodian"] },
    { id = "fay", name = "Fay Frank", roles = ["custodian"] },
    { id = "quinn", name = "Quinn Queen", roles = ["approver"], groups = ["quality"] },
    { id = "rita", name = "Rita Reed", roles = ["requester"], groups = ["engineering"] },
    { id = "sam", name = "Sam Stone", roles = ["approver"], groups = ["security"] },
]
"""
_LOG = """
[log]
token = "log"
label = "{label}"
path = "../log"
witnesses = ["{witness}"]
"""


def play(story: Story, stage: Stage) -> None:
    """From an empty folder to people, tokens, a log, and the first keys and certificates."""
    story.chapter(
        "1. An authority, its people, and a log",
        "A maker of infusion pumps sets up. A *hardware security module* (HSM) creates keys inside itself and signs "
        "with them; it never gives them out. Here SoftHSM plays the part of six HSMs: same interface (PKCS#11), but "
        "files on disk, so it protects nothing. The PINs are random, and stand in files under `fake/`.",
    )
    _repository(story, stage)
    _people(story, stage)
    _tokens(story, stage)
    _log(story, stage)
    _role_keys(story, stage)
    _other_keys(story, stage)
    _certificates(story, stage)


def _repository(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The authority's files, and one product",
        "`strongroom init` writes a folder with everything that is not secret: who, which sites, boards, products.",
        "What is signed with which key, and how far each key may go, is written down in files that people can review.",
    )
    stage.strongroom(step, "init", "authority", "--name", _ORGANIZATION, prints="made ")
    stage.strongroom(step, "product", "new", PRODUCT, "--board", BOARD, prints="product id ")
    story.finish(step, f"authority/ and the product {PRODUCT}, for the board {BOARD}")


def _people(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Who is who",
        "`people.toml` says who may ask, who may approve, and who has which role in a ceremony. `allowed_signers` is "
        "OpenSSH's own file: it says whose SSH key is whose.",
        "Approving a release takes the SSH key that a person has already, best in hardware. No new password.",
    )
    stage.write(step, "authority/people.toml", _PEOPLE)
    for person in (REQUESTER, *APPROVERS):
        stage.run(step, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", f"fake/{person}"])
    lines = [
        f"{person} {(stage.folder / 'fake' / f'{person}.pub').read_text(encoding='ascii')}"
        for person in (REQUESTER, *APPROVERS)
    ]
    stage.write(step, "authority/allowed_signers", "".join(lines))
    story.finish(step, "nine people; three of them have SSH keys, and each of these says whose it is")


def _tokens(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Six tokens: three roots, a release HSM, one for certificates, one for the log",
        "Each HSM is initialised, gets its PINs, and is pinned by its serial number in the site's file.",
        "A root alone can do nothing: two of three must agree. The release HSM is used often, so it may do less.",
    )
    serials = set()
    for token in TOKENS:
        write_fake_pin(stage, f"{token}.so.pin")
        write_fake_pin(stage, f"{token}.pin")
        pins = ["--so-pin-file", f"fake/{token}.so.pin", "--pin-file", f"fake/{token}.pin"]
        said = stage.strongroom(
            step, "token", "init", token, "--module", "softhsm", "--label", token, *pins, "--write",
            prints=f"initialised token '{token}', serial ",
        )  # fmt: skip
        serials.add(said.split("serial ")[1].split()[0])
    expect(len(serials) == len(TOKENS), "two tokens have the same serial number")
    story.finish(step, f"{len(serials)} tokens, each with a serial number and PINs of its own")


def _log(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The audit log, and a witness",
        "From here on, whatever a key does is written into a log before the result is used. A key of the log's own "
        "signs its state. A *witness*, on a machine of its own, cosigns that state.",
        "Nobody, not even whoever runs these machines, can later take an entry out, change one, or show two people two "
        "different logs.",
    )
    generate_key(stage, step, "log", LOG_KEY)
    witness = stage.report(step, "audit", "witness", "new", "witness", "--name", "witness.example/hall-2")
    stage.append(step, "authority/strongroom.toml", _LOG.format(label=LOG_KEY, witness=witness["key"]))
    stage.strongroom(step, "audit", "init", prints="strongroom-log/")
    story.finish(step, "log/ has its first entry, and a checkpoint signed by the log's key")


def _role_keys(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The keys for everyday work",
        "Generated inside the release HSM: one key for applications, one for production, one for grants, and one that "
        "keeps the keys of packages wrapped.",
        "One key has one purpose for life. What can sign an application cannot sign a bootloader, and the other way "
        "round. What rules both is made in the next chapter, in front of witnesses.",
    )
    for role in ("application-release", "production", "grant"):
        generate_key(stage, step, "release", key_label(role))
    generate_key(stage, step, "release", key_label("package-wrap"))
    product = f"authority/products/{PRODUCT}.toml"
    stage.run(step, ["sed", "-i", "s/^# grant =/grant =/; s/^# package-wrap =/package-wrap =/", product])
    stage.run(step, ["grep", "-E", "^(grant|package-wrap) =", product])
    story.finish(step, "4 keys, which the token never gives out; no device obeys them yet")


def _other_keys(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Keys without authority on a device",
        "A certificate authority for the host's world (root, production, code signing), and a `compat` key whose "
        "signature lets MCUboot's tools read our packages.",
        "They are separate keys, so a mistake with a certificate can never become a firmware signature.",
    )
    generate_key(stage, step, "ca", key_label("root-ca", _EVERY_PRODUCT))
    for role in ("production-ca", "code-signing"):
        generate_key(stage, step, "release", key_label(role, _EVERY_PRODUCT))
    generate_key(stage, step, "release", key_label("compat"))
    stage.strongroom_together(
        step,
        ["key", "export", key_label("application-release"), "--out", "app-release.pub.pem"],
        ["key", "export", key_label("compat"), "--out", "compat.pub.pem"],
        prints="wrote ",
    )
    story.finish(step, "4 keys; and two public keys are written to files, for others to verify with")


def key_label(role: str, product: str = PRODUCT, sequence: int = 1) -> str:
    """The label of a key (docs/spec/key-roles.md)."""
    return f"sr:{role}:{product}:{sequence:04}"


def generate_key(stage: Stage, step: Step, token: str, label: str, authority: str = "authority") -> None:
    """Generate and activate the key of this label."""
    _, role, product, _ = label.split(":")
    for_product = [] if product == _EVERY_PRODUCT else ["--product", product]
    at = [] if authority == "authority" else ["--authority", authority]
    arguments = [*at, "key", "generate", role, *for_product, "--token", token, "--activate"]
    said = stage.strongroom(step, *arguments, prints=f"generated: {label} on token ")
    expect("state active" in said, f"key {label} is not active")


def _certificates(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Certificates: root CA, production CA, code signing",
        "The root CA signs itself, then the production CA; that one signs the code-signing certificate.",
        "Hosts and tools verify files with X.509, which every operating system knows. Devices do not need it.",
    )
    name = ["--organization", _ORGANIZATION, "--common-name"]
    root_key, production_key, code_key = (
        key_label(role, _EVERY_PRODUCT) for role in ("root-ca", "production-ca", "code-signing")
    )
    stage.strongroom(step, "cert", "root-ca", "--key", root_key, *name, "Pumps Root CA", "--out", "root-ca.pem")
    for key, issuer_key, issuer, command, common_name in (
        (production_key, root_key, "root-ca", "production-ca", "Pumps Production CA"),
        (code_key, production_key, "production-ca", "code-signing", "Pumps Code Signing"),
    ):
        signing = ["--ca-key", issuer_key, "--ca-cert", f"{issuer}.pem", "--csr", f"{command}.csr.pem"]
        stage.strongroom(step, "cert", "csr", "--key", key, *name, common_name, "--out", f"{command}.csr.pem")
        stage.strongroom(step, "cert", command, *signing, *name, common_name, "--out", f"{command}.pem")
    story.finish(step, "a chain of three: root-ca.pem, production-ca.pem, code-signing.pem")

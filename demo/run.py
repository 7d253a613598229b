"""`make demo`: from an empty folder, over a key ceremony and a production line, to devices that update and refuse.

Everything goes through the `strongroom` command, as a person would use it; openssl and imgtool look on. Any outcome
that is not the expected one ends the demonstration with exit code 1, and no story.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

from demo.scenes import authority, ceremony, factory, line, link, outsiders, refusals, releases, rotation, updates
from demo.stage import ROOT, DemoFailed, Stage, open_stage
from demo.story import Story

_OPENING = """\
# From an empty folder, over a key ceremony and a production line, to devices that update, recover and refuse

This is what one run of `make demo` did: every step, why it matters, the exact command, and what came of it. Had any
step come out differently, the run would have stopped there, and this file would not exist.

All names are relative to this folder. To try commands yourself, in a shell: `. build/demo/env.sh`, which goes to the
folder and sets `PATH`, `SOFTHSM2_CONF`, `STRONGROOM_AUTHORITY` and `STRONGROOM_SOURCE`. With `--json` a command prints
a report for programs; here only the line of it is shown that says it in words.

**What is real here:** every signature by the authority is made through PKCS#11, the interface of every HSM; packages,
trust bundle, certificates and factory image are in the formats of `docs/spec/`; the application is compiled for a
Cortex-M4; ssh-keygen, imgtool, openssl and smpmgr are not ours. The devices of chapters 10 and 11 are processes of
their own, and what goes between them and the host goes over pseudo-terminals, by `docs/spec/protocol.md`.

**What is not:** the HSMs are SoftHSM, whose tokens are files that protect nothing. The devices are simulations, and the
bootloader that runs on them is the reference, in Python: the compiled bootloader is a stand-in that carries the trust
bundle, and the one in C comes later. The application's instructions are not executed: "runs" means that the bootloader
has verified it and would jump to it. In chapters 3 to 9 one device is made operational by a shortcut, which marks it as
a simulation for life; those of chapter 10 are activated as real ones are.
"""

_CLOSING = """\
## What is left here

| file | what it is |
|---|---|
| `app-1.0.0.srp`, `app-1.1.0.srp`, `app-1.2.0.srp` | application packages, encrypted for `device.img` alone |
| `app-1.3.0.*` | a release with all that belongs to it: request, approvals, SBOM, tests, evidence |
| `trust-1.srb`, `trust-2.srb` | the genesis trust bundle, and the one that revokes the leaked key |
| `ceremony/` | the genesis ceremony: plan, rehearsal, transcript, `report.html`, `report.pdf` |
| `log/` | the audit log: tiles under `tile/`, `checkpoint`, its public key |
| `witness/` | the witness of the log, which in life is another machine |
| `factory.hex` | what a manufacturer would flash |
| `device.img`, `device.json` | the simulated device, and its public half |
| `app-release.pub.pem`, `compat.pub.pem` | public keys to verify packages with |
| `root-ca.pem`, `production-ca.pem`, `code-signing.pem` | the certificates |
| `firmware/`, `*.elf` | the C sources, and what the compiler made of them |
| `lot-1.srw`, `line-1/`, `line-1.births` | the work order; the station that worked it, and what it did, signed |
| `boards/`, `stolen.img` | the boards of the line; the one that fell off the lorry |
| `registry.sqlite` | the registry of devices (tables: `docs/spec/registry.md`) |
| `app-2.0.0.srp`, `grants.srg` | one package for all, and a grant for each device; `devices.csv` is who |
| `chain.json`, `star.json` | reports of the updates |
| `authority/` | the authority's files and key store |
| `tampered-*.srp`, `forged.srp`, `app-highest.srp`, `app-1.4.0-stolen.srp`, `forged-log/` | what was refused |
| `fake/` | PINs and SoftHSM's tokens: worthless, made for this run |

## The price of convenience
Each package here is encrypted for **one** device, so keys read out of one device open nothing else. A product may
choose *group* encryption instead: one package for a whole lot. Then whoever reads the group key out of one device can
read every package of that lot. He still can sign nothing.

*{steps} steps in {seconds:.0f} seconds.*
"""


def play(stage: Stage, story: Story) -> None:
    """All chapters in order; then the story is written. Raises DemoFailed."""
    authority.play(story, stage)
    ceremony.play(story, stage)
    factory.play(story, stage)
    updates.play(story, stage)
    refusals.play(story, stage, _product_id(stage))
    releases.play(story, stage)
    rotation.play(story, stage)
    line.play(story, stage)
    link.play(story, stage)
    outsiders.play(story, stage)
    closing = _CLOSING.format(steps=story.step_count, seconds=story.seconds)
    (stage.folder / "story.md").write_text(story.as_markdown(_OPENING, closing), encoding="utf-8")


def _product_id(stage: Stage) -> str:
    """The product's id: public, it stands in every package."""
    file = stage.folder / "authority" / "products" / f"{authority.PRODUCT}.toml"
    return str(tomllib.loads(file.read_text(encoding="utf-8"))["id"])


def _failed(story: Story, reason: str) -> int:
    sys.stderr.write(f"\ndemo: FAILED at step {story.step_count}: {reason}\n")
    return 1


def main() -> int:
    """The program. Returns its exit code."""
    parser = argparse.ArgumentParser(description="Strongroom's demonstration, from nothing.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "demo", help="its folder; by default build/demo")
    out = parser.parse_args().out
    story = Story()
    try:
        stage = open_stage(out)
        play(stage, story)
    except (DemoFailed, OSError) as error:
        return _failed(story, str(error))
    except KeyError as error:
        return _failed(story, f"a report does not say {error}")
    except KeyboardInterrupt:
        return _failed(story, "stopped by the person at the keyboard")
    name = Path(out).resolve().relative_to(ROOT) if out.resolve().is_relative_to(ROOT) else out
    print(f"\nAs expected, all {story.step_count} steps ({story.seconds:.0f} s). The whole story: {name}/story.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

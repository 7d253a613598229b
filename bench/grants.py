"""Grants per second and core, against the bare cryptography of one device: point, ECDH, HKDF, mask; and what they take.

    python -m bench.grants                    a batch of 100,000
    python -m bench.grants --devices 1000000

A batch is made whole, from a list in no order to a durable file, on all cores, in a process of its own. Slices of the
bare loop run beside it on every core, from before its start to its end, so that both see the same machine. Processor
time is compared, of all processes of the batch together: on an idle machine nothing waits but for the list to be read,
which one process does; on a busy one other programs do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bench.figures import Bound, Figure, table

DEVICES = 100_000
_ROUNDS = 3
_SLICE_DEVICES = 500
_PAUSE_SECONDS = 1.5
_DIFFERENT_KEYS = 2_000
_TIME_LIMIT_SECONDS = 7_200
_RATIO_MIN = 0.7
_MEMORY_RATIO_MAX = 1.1
_KILOBYTES_A_MEGABYTE = 1024


@dataclass(frozen=True)
class _Round:
    """One batch, and the processor seconds that a device of the bare loop took beside it."""

    batch: dict[str, Any]
    bare_seconds: float
    device_count: int

    @property
    def batch_seconds(self) -> float:
        """Processor seconds for a grant, everything included."""
        return float(self.batch["processor_seconds"]) / self.device_count

    @property
    def ratio(self) -> float:
        return self.bare_seconds / self.batch_seconds


def measure_grants(folder: Path, device_count: int = DEVICES, rounds: int = _ROUNDS) -> list[Figure]:
    """The figures for one size of batch; `folder` is on the file system that files are made durable on."""
    cores = len(os.sched_getaffinity(0))
    whole, tenth = folder / "devices.csv", folder / "tenth.csv"
    _write_list(whole, device_count)
    _write_list(tenth, device_count // 10)
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        list(pool.map(_bare_loop, [100] * cores))  # the processes are up, and everything is imported
        found = [_round(pool, whole, device_count, cores) for _ in range(rounds)]
        small = _round(pool, tenth, device_count // 10, cores)
    return _figures(device_count, cores, found, small)


def _round(pool: ProcessPoolExecutor, devices: Path, device_count: int, cores: int) -> _Round:
    out = devices.with_suffix(".srg")
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.grants", "--batch", str(devices), str(out), str(cores)]
    bare = _bare_slice(pool, cores)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        begun = time.monotonic()
        while process.poll() is None:
            if time.monotonic() - begun > _TIME_LIMIT_SECONDS:
                process.kill()
            time.sleep(_PAUSE_SECONDS)
            bare += _bare_slice(pool, cores)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode != 0:
        raise RuntimeError(f"the batch ended with exit code {process.returncode}; what it printed above says why")
    return _Round(json.loads(said), fmean(bare), device_count)


def _bare_slice(pool: ProcessPoolExecutor, cores: int) -> list[float]:
    """Processor seconds for a device, on each core at the same time."""
    return [seconds / _SLICE_DEVICES for seconds in pool.map(_bare_loop, [_SLICE_DEVICES] * cores)]


def _figures(device_count: int, cores: int, rounds: list[_Round], small: _Round) -> list[Figure]:
    batch, of = rounds[-1].batch, f"{device_count:,} grants"
    memory = max(one.batch["peak_kilobytes"] for one in rounds)
    per_core = median(one.batch_seconds for one in rounds)
    bare = median(one.bare_seconds for one in rounds)
    elapsed = median(float(one.batch["seconds"]) for one in rounds)
    against = "speed per core against bare point load, ECDH, HKDF and mask"
    return [
        Figure(f"{of}: {against}", median(one.ratio for one in rounds), "ratio", Bound.AT_LEAST, _RATIO_MIN),
        Figure(f"{of}: whole batch, by processor time", 1 / per_core, "grants/s and core"),
        Figure("bare point load, ECDH, HKDF and mask", 1 / bare, "devices/s and core"),
        Figure(f"{of}: whole batch, elapsed, on {cores} cores", device_count / elapsed, "grants/s"),
        Figure(f"{of}: signatures of the grant key", batch["signatures"], "count", Bound.AT_MOST, 1),
        Figure(
            f"{of}: largest process against that for a tenth of the devices",
            memory / small.batch["peak_kilobytes"], "ratio", Bound.AT_MOST, _MEMORY_RATIO_MAX,
        ),
        Figure(f"{of}: largest process", memory / _KILOBYTES_A_MEGABYTE, "MB"),
        Figure(f"{of}: largest grant, as a device takes it", batch["grant_bytes_max"], "bytes"),
        Figure(f"{of}: file", batch["file_bytes"] / device_count, "bytes/device"),
    ]  # fmt: skip


def _write_list(path: Path, device_count: int) -> None:
    """Devices in no order of their UIDs; keys repeat, which costs the same as if they did not."""
    from cryptography.hazmat.primitives.asymmetric import ec

    points = []
    for scalar in range(2, _DIFFERENT_KEYS + 2):
        numbers = ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()
        points.append(f"{numbers.x:064x}{numbers.y:064x}")
    # Multiplying by a prime that is no factor of the modulus visits every number once.
    modulus = 1_000_003 * 1_009
    with path.open("w", encoding="ascii") as stream:
        stream.write("uid,agreement_public_key\n")
        for number in range(1, device_count + 1):
            stream.write(f"{number * 7_368_787 % modulus:024x},{points[number % _DIFFERENT_KEYS]}\n")


# --- the bare loop ---


def _bare_loop(device_count: int) -> float:
    """Processor seconds of the plainest use of `cryptography`, with everything prepared that can be."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    curve, ecdh, algorithm = ec.SECP256R1(), ec.ECDH(), SHA256()
    private = ec.derive_private_key(0xA5A5A5A5, curve)
    content_key, prefix = int.from_bytes(b"fake content key of 32 bytes ...", "big"), bytes(161)
    encoded = []
    for scalar in range(2, 102):
        numbers = ec.derive_private_key(scalar, curve).public_key().public_numbers()
        encoded.append(b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
    begun = time.thread_time()
    for number in range(device_count):
        point = encoded[number % 100]
        shared = private.exchange(ecdh, ec.EllipticCurvePublicKey.from_encoded_point(curve, point))
        mask = HKDF(algorithm=algorithm, length=32, salt=None, info=prefix + point).derive(shared)
        (int.from_bytes(mask, "big") ^ content_key).to_bytes(32, "big")
    return time.thread_time() - begun


# --- a whole batch ---


@dataclass
class _CountingKey:
    """A software key in place of the token's: what counts here is how often it is asked."""

    signatures: int = 0

    def signer(self) -> tuple[bytes, Callable[[Any], Any]]:
        """Its key id, and what signs a batch with it."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

        from pki.values import PublicKey, Signature

        private = ec.generate_private_key(ec.SECP256R1())
        numbers = private.public_key().public_numbers()
        public = PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))

        def sign(batch: Any) -> Signature:
            self.signatures += 1
            r, s = decode_dss_signature(private.sign(batch.digest.value, ec.ECDSA(Prehashed(hashes.SHA256()))))
            return Signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

        return public.key_id, sign


def _batch(devices: Path, out: Path, core_count: int) -> dict[str, Any]:
    from signer.grants.devices import device_list
    from signer.grants.file import GrantFile
    from signer.grants.lookup import grant_of
    from signer.grants.making import EphemeralScalar, GrantOrder, make_grants
    from signer.new_file import NewFile

    package, content_key = _package()
    key = _CountingKey()
    key_id, sign = key.signer()
    begun, processor_begun = time.perf_counter(), _processor_seconds()
    with NewFile(out) as file, device_list(devices, out.parent) as listed, EphemeralScalar(os.urandom) as ephemeral:
        order = GrantOrder(package, os.urandom(16), key_id)
        make_grants(order, ephemeral, content_key, listed, file, sign, core_count)
        file.publish()
    elapsed = time.perf_counter() - begun
    with GrantFile(out) as made:
        first_uid = made.leaf(0)[:16]
    return {
        "seconds": elapsed,
        "processor_seconds": _processor_seconds() - processor_begun,
        "peak_kilobytes": max(_own_peak_kilobytes(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss),
        "signatures": key.signatures,
        "grant_bytes_max": len(grant_of(out, first_uid)),  # the leaf on the far left has the longest proof
        "file_bytes": out.stat().st_size,
    }


def _package() -> tuple[Any, bytes]:
    """A package as the maker of grants sees it: the real thing differs in nothing that costs time."""
    from signer.grants.grantable import GrantablePackage
    from signer.packages.encryption import cek_commitment
    from signer.packages.manifest import Manifest, WrappedContentKey
    from signer.packages.terms import ImageVersion, PackageTerms, PackageType, RecipientMode, Target

    content_key, salt = os.urandom(32), os.urandom(32)
    terms = PackageTerms(
        package_type=PackageType.APPLICATION,
        product_id=os.urandom(16),
        hardware_revision_min=1,
        hardware_revision_max=1,
        image_version=ImageVersion(1, 0, 0),
        security_version=1,
        bootloader_version_min=ImageVersion(1, 0, 0),
        trust_bundle_version_min=1,
        target=Target.GRANT_REQUIRED,
        recipient_mode=RecipientMode.GRANT,
    )
    wrapped = WrappedContentKey(cek_commitment=cek_commitment(salt, content_key))
    manifest = Manifest(terms, 0x08040400, 4096, salt, bytes(32), bytes(32), bytes(32), wrapped, (b"signer 1",))
    return GrantablePackage(manifest, bytes(1024), os.urandom(32)), content_key


def _own_peak_kilobytes() -> int:
    """VmHWM of this process. Its ru_maxrss would be at least what the process had that began it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError("this system does not tell the peak of a process")
    return int(found[1])


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> int:
    if sys.argv[1:2] == ["--batch"]:
        print(json.dumps(_batch(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
        return 0
    parser = argparse.ArgumentParser(prog="bench.grants", description="Measure batches of grants.")
    parser.add_argument("--devices", type=int, default=DEVICES, help="how many grants (default: 100,000)")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    options = parser.parse_args()
    build = Path(__file__).parents[1] / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-grants-", dir=build) as folder:
        print(table(measure_grants(Path(folder), options.devices, options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

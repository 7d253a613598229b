"""The commands of `strongroom device` that make things: factory images and simulated devices."""

from __future__ import annotations

import secrets
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import board_of, open_store, repository_of
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit, read_input, write_new_file
from pki.errors import ConfigurationError, InputRefused, WrongTarget
from signer.packages.firmware_input import open_firmware
from signer.packages.image_parts import ImageLimits
from signer.packages.layout import HEAD_SIZE_BYTES

if TYPE_CHECKING:
    from bootloader.reference.board import Board
    from bootloader.reference.factory_image import CopyImage
    from bootloader.reference.flash import Region
    from bootloader.reference.status import Status
    from bootloader.simulation.device import SimulatedDevice
    from signer.authority.model import Product
    from signer.authority.repository import AuthorityRepository

_LOT_SIZE_BYTES = 16
_HEX_FILE_SIZE_BYTES_MAX = 64 * 1024 * 1024
_PEM_SIZE_BYTES_MAX = 4096
# Order of the group of P-256 (SP 800-186, section 3.2.1.3).
_GROUP_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

PackageOption = Annotated[Path, typer.Option(metavar="PKG", help="The bootloader package whose signed head it gets.")]
ImageOption = Annotated[Path, typer.Option(metavar="FIRMWARE", help="The same bootloader's firmware file.")]


def factory_image(
    context: typer.Context,
    product: ProductOption,
    bootloader_a: PackageOption,
    image_a: ImageOption,
    bootloader_b: PackageOption,
    image_b: ImageOption,
    lot: Annotated[str, typer.Option(help="The lot, 1 to 16 characters, which every device of it knows.")],
    out: OutputOption,
    bundle: Annotated[
        Path | None, typer.Option(help="Demand that both copies carry exactly this genesis bundle.")
    ] = None,
    pre_bootloader: Annotated[
        Path | None, typer.Option(help="Raw binary of the pre-bootloader; without it its place stays erased.")
    ] = None,
    hardware_revision: Annotated[
        int | None, typer.Option(min=0, max=0xFFFF, help="By default the lowest in the product's file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make what an electronics manufacturer flashes, as Intel HEX: pre-bootloader, both copies, first state LOCKED.

    Everything in it is verified first, as the pre-bootloader of every device will.
    """
    from bootloader.reference.factory_image import FactoryImageInvalid, build_factory_image

    repository = repository_of(context)
    config = repository.product(product)
    board = board_of(repository, config.board)
    revision = config.hardware_revision_min if hardware_revision is None else hardware_revision
    if not config.hardware_revision_min <= revision <= config.hardware_revision_max:
        raise InputRefused(f"hardware revision {revision} is not one of product {product!r}; see its file")
    copies = (
        _copy_image(bootloader_a, image_a, board.bootloader_a),
        _copy_image(bootloader_b, image_b, board.bootloader_b),
    )
    if bundle is not None:
        _require_carried(bundle, copies)
    code = b"" if pre_bootloader is None else read_input(pre_bootloader, "pre-bootloader", HEAD_SIZE_BYTES * 4)
    try:
        blocks = build_factory_image(board, code, _built_in_keys(repository, config), copies, revision, _lot(lot))
    except FactoryImageInvalid as error:
        raise InputRefused(f"the parts do not make a factory image: {error}") from None
    write_new_file(out, _intel_hex(blocks))
    data = {
        "file": str(out),
        "board": board.name,
        "hardware_revision": revision,
        "lot": lot,
        "blocks": [{"address": f"0x{address:08x}", "size_bytes": len(content)} for address, content in blocks],
    }
    lines = [f"wrote {out}: {board.name}, hardware revision {revision}, lot {lot}"]
    emit(data, as_json, "\n".join(lines + [f"0x{address:08x} {len(content)} bytes" for address, content in blocks]))


def new(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(metavar="IMG", help="The device file to write; it must not exist yet.")],
    factory: Annotated[Path, typer.Option("--factory-image", metavar="HEX", help="What it was flashed with.")],
    uid: Annotated[str, typer.Option(metavar="HEX", help="The microcontroller's unique identifier.")],
    product: Annotated[
        str | None, typer.Option("--product", "-p", help="The product; its file names the board.")
    ] = None,
    board: Annotated[str | None, typer.Option(help="The board, where no product is given.")] = None,
    operational: Annotated[
        bool, typer.Option("--operational", help="Give it keys, and skip activation. Simulation only.")
    ] = False,
    group_key: Annotated[
        Path | None, typer.Option(help="Private key file (PEM) of the group, a test key. Simulation only.")
    ] = None,
    public: Annotated[
        Path | None, typer.Option(help="Also write the device's public file, for `package build --for-device`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a simulated device in one file, flashed with a factory image. It is marked as a simulation for life."""
    from bootloader.simulation.device import SimulatedDevice
    from bootloader.simulation.device_file import encode_device
    from signer.new_file import NewFile

    if (product is None) is (board is None):
        raise typer.BadParameter("give one of --product and --board")
    if not operational and (group_key is not None or public is not None):
        raise typer.BadParameter("--group-key and --public go with --operational: a locked device has no keys yet")
    repository = repository_of(context)
    config = None if product is None else repository.product(product)
    chosen = board_of(repository, board if config is None else config.board)  # type: ignore[arg-type]
    device = SimulatedDevice.from_factory_image(
        chosen, _uid(uid, chosen), read_factory_blocks(factory, chosen), secrets.randbits(32)
    )
    if operational:
        _activate(device, _group_private(group_key, repository, config))
    status = _checked_status(device, config, factory)
    with ExitStack() as stack:
        # Both are written whole before either gets its name: a full disk leaves neither.
        files = [stack.enter_context(NewFile(image, 0o600))]
        files[0].write_at(0, encode_device(device))
        if public is not None:
            files.append(stack.enter_context(NewFile(public)))
            files[1].write_at(0, _public_file(status))
        for file in files:
            file.publish()
    data = {
        "file": str(image),
        "uid": status.uid.hex(),
        "board": chosen.name,
        "operational": operational,
        "simulation_only": True,
        "public_file": None if public is None else str(public),
    }
    kind = "OPERATIONAL (in simulation only)" if operational else "LOCKED"
    emit(data, as_json, f"made {image}: simulated {chosen.name}, UID {status.uid.hex()}, {kind}")


def _copy_image(package: Path, firmware: Path, region: Region) -> CopyImage:
    from bootloader.reference.factory_image import CopyImage

    try:
        with package.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
    except OSError as error:
        raise InputRefused(f"package {package}: cannot be read ({error.strerror})") from None
    limits = ImageLimits(region.address + HEAD_SIZE_BYTES, region.size_bytes - HEAD_SIZE_BYTES)
    with open_firmware(firmware, limits) as image:
        content = bytearray(image.size_bytes)
        image.read_into(0, memoryview(content))
        image.require_unchanged()
    return CopyImage(head, bytes(content))


def _require_carried(bundle: Path, copies: tuple[CopyImage, CopyImage]) -> None:
    from bootloader.reference.trust_bundle import BUNDLE_SIZE_BYTES

    expected = read_input(bundle, "trust bundle", 64 * 1024)
    for name, part in zip("AB", copies, strict=True):
        if part.image[-BUNDLE_SIZE_BYTES:] != expected:
            raise InputRefused(f"bootloader {name} does not end with {bundle}; link it with that trust bundle")


def _built_in_keys(repository: AuthorityRepository, product: Product) -> list[bytes]:
    """The public keys of the product's three bootloader-release keys, from the key store."""
    with open_store(repository) as store:
        records = [store.key(config.label) for config in product.keys.bootloader_release]
    return [record.public_key.point for record in records if record.public_key is not None]


def _lot(text: str) -> bytes:
    if not 1 <= len(text) <= _LOT_SIZE_BYTES or not text.isascii() or not text.isprintable():
        raise InputRefused(f"--lot {text!r}: give 1 to {_LOT_SIZE_BYTES} printable ASCII characters")
    return text.encode("ascii").ljust(_LOT_SIZE_BYTES, b"\0")


def _uid(text: str, board: Board) -> bytes:
    try:
        uid = bytes.fromhex(text)
    except ValueError:
        raise InputRefused(f"--uid {text!r} is not hexadecimal") from None
    if len(uid) != board.uid_size_bytes or not any(uid):
        raise InputRefused(f"--uid: a UID of {board.name} has {board.uid_size_bytes} bytes, and is not zero")
    return uid


def _intel_hex(blocks: list[tuple[int, bytes]]) -> bytes:
    import bincopy

    file = bincopy.BinFile()
    for address, content in blocks:
        file.add_binary(content, address)
    return str(file.as_ihex()).encode("ascii")


def read_factory_blocks(path: Path, board: Board) -> list[tuple[int, bytes]]:
    """What an Intel HEX file puts where, in whole write units of the board. Raises InputRefused."""
    import bincopy

    text = read_input(path, "factory image", _HEX_FILE_SIZE_BYTES_MAX)
    lines = text.split()
    # bincopy takes a file that was cut off as if it were whole.
    if not lines or lines[-1].upper() != b":00000001FF":
        raise InputRefused(f"factory image {path}: has no end record; it is not Intel HEX, or was cut off")
    file = bincopy.BinFile()
    try:
        file.add_ihex(text.decode("ascii"))
    except (bincopy.Error, ValueError) as error:
        raise InputRefused(f"factory image {path}: {error}") from None
    end = board.flash_address + board.flash_size_bytes
    blocks = []
    for segment in file.segments:
        shift = segment.address % board.write_unit_bytes
        begin, content = segment.address - shift, b"\xff" * shift + bytes(segment.data)
        if begin < board.flash_address or begin + len(content) > end:
            raise InputRefused(f"factory image {path}: 0x{segment.address:08x} is not in the flash of {board.name}")
        blocks.append((begin, content))
    return blocks


def _activate(device: SimulatedDevice, group_private: bytes | None) -> None:
    from bootloader.simulation.operational import make_operational_simulation_only

    make_operational_simulation_only(device, _new_scalar(), _new_scalar(), group_private)


def _new_scalar() -> bytes:
    return (secrets.randbelow(_GROUP_ORDER - 1) + 1).to_bytes(32, "big")


def _group_private(path: Path | None, repository: AuthorityRepository, product: Product | None) -> bytes | None:
    """The scalar of the group's private key, which must be the one of the product. Raises InputRefused."""
    if path is None:
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(read_input(path, "group key", _PEM_SIZE_BYTES_MAX), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputRefused(f"group key {path}: is not the PEM file of an unencrypted P-256 private key")
    numbers = key.private_numbers()
    public = numbers.public_numbers
    _require_group_of(product, repository, public.x.to_bytes(32, "big") + public.y.to_bytes(32, "big"), path)
    return numbers.private_value.to_bytes(32, "big")


def _require_group_of(product: Product | None, repository: AuthorityRepository, point: bytes, path: Path) -> None:
    from signer.authority.public_key_files import read_public_key

    if product is None or product.encryption.group_public_key is None:
        return
    if read_public_key(repository.resolve(product.encryption.group_public_key)).point != point:
        raise ConfigurationError(f"group key {path} is not the private half of product {product.name!r}'s group key")


def _checked_status(device: SimulatedDevice, product: Product | None, factory: Path) -> Status:
    """What the new device says of itself; it must be of the product. Raises InputRefused, WrongTarget."""
    from bootloader.reference.codes import Refused

    try:
        status = device.status()
    except Refused as refusal:
        raise InputRefused(f"factory image {factory}: no device of {device.board.name} ({refusal})") from None
    if product is not None and status.device.product_id != product.id_bytes:
        raise WrongTarget(f"factory image {factory} is of product {uuid.UUID(bytes=status.device.product_id)}")
    return status


def _public_file(status: Status) -> bytes:
    from cli.device_public import PublicDevice
    from pki.values import PublicKey

    if status.identity_public_key is None or status.agreement_public_key is None:
        raise AssertionError("an operational device has keys")
    device = PublicDevice(
        uid=status.uid,
        product_id=uuid.UUID(bytes=status.device.product_id),
        board=status.board,
        hardware_revision=status.device.hardware_revision,
        lot=status.device.lot,
        identity=PublicKey(status.identity_public_key),
        agreement=PublicKey(status.agreement_public_key),
        simulation_only=status.device.is_simulation_only,
    )
    return device.encoded()

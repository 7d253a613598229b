"""SLIP-39 recombination, written from the standard alone as an oracle: slow, without tables, without checks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import reduce

from shamir_mnemonic.wordlist import WORDLIST

SECRET_INDEX, DIGEST_INDEX = 255, 254
Point = tuple[int, bytes]


def multiply(a: int, b: int) -> int:
    """In GF(256) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def inverse(a: int) -> int:
    return reduce(multiply, [a] * 254)


def interpolate(points: Sequence[Point], x: int) -> bytes:
    result = bytes(len(points[0][1]))
    for x_i, value in points:
        others = [x_j for x_j, _ in points if x_j != x_i]
        weight = reduce(multiply, [multiply(x ^ x_j, inverse(x_i ^ x_j)) for x_j in others], 1)
        result = bytes(sum_so_far ^ multiply(byte, weight) for sum_so_far, byte in zip(result, value, strict=True))
    return result


def recover(threshold: int, points: Sequence[Point]) -> bytes:
    if threshold == 1:
        return points[0][1]
    return interpolate(points, SECRET_INDEX)


def decrypt(ciphertext: bytes, passphrase: bytes, exponent: int, salt_prefix: bytes) -> bytes:
    """The Feistel network of the standard, four rounds backwards."""
    half = len(ciphertext) // 2
    left, right = ciphertext[:half], ciphertext[half:]
    for number in (3, 2, 1, 0):
        key = hashlib.pbkdf2_hmac(
            "sha256", bytes([number]) + passphrase, salt_prefix + right, 2500 << exponent, dklen=half
        )
        left, right = right, bytes(a ^ b for a, b in zip(left, key, strict=True))
    return right + left


def combine(mnemonics: Sequence[str], passphrase: bytes) -> bytes:
    groups: defaultdict[int, list[Point]] = defaultdict(list)
    thresholds: dict[int, int] = {}
    for mnemonic in mnemonics:
        words = [WORDLIST.index(word) for word in mnemonic.split()]
        bits = "".join(f"{word:010b}" for word in words)
        identifier, extendable, exponent = bits[:15], bits[15], int(bits[16:20], 2)
        group, group_threshold = int(bits[20:24], 2), int(bits[24:28], 2) + 1
        index, threshold = int(bits[32:36], 2), int(bits[36:40], 2) + 1
        value_bits = bits[40:-30]
        size_bytes = len(value_bits) // 8
        # Whole words: the padding at the front is zero.
        size_bytes -= size_bytes % 2
        value = int(value_bits, 2).to_bytes(size_bytes, "big")
        groups[group].append((index, value))
        thresholds[group] = threshold
    parts = [(group, recover(thresholds[group], points)) for group, points in sorted(groups.items())]
    salt_prefix = b"" if extendable == "1" else b"shamir" + int(identifier, 2).to_bytes(2, "big")
    return decrypt(recover(group_threshold, parts), passphrase, exponent, salt_prefix)

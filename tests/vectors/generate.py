"""Writes the test vectors: `python -m tests.vectors.generate [folder]`; without a folder, into this one.

Made from `docs/spec` alone. It imports no room of the project (tests/conformance/test_generator.py holds it to that),
so that a mistake in the encoder or in the parsers cannot hide in what they are checked with.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vectors.generator.output import all_files

FAMILIES = ("packages", "images", "trust_bundles", "journals", "objects")


def write(folder: Path) -> int:
    """Write every file, remove vectors that are no longer made, and return how many files there are."""
    files = all_files()
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    for family in FAMILIES:
        for present in sorted((folder / family).iterdir()):
            if f"{family}/{present.name}" not in files:
                present.unlink()
    return len(files)


def main(arguments: list[str]) -> int:
    """Entry point."""
    if len(arguments) > 1:
        print("usage: python -m tests.vectors.generate [folder]", file=sys.stderr)
        return 2
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    print(f"{write(folder)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

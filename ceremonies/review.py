"""What people review before a ceremony, and its digest: every file that decides what happens, and the program. Pure.

One byte changed in any of them gives another digest, and the ceremony does not begin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pki.canonical_json import encode_canonical

REVIEW_FORMAT = "strongroom-ceremony-review-1"


def review_document(name: str, files: Mapping[str, bytes], tool_version: str, tool_digest: str) -> bytes:
    """`review.json`: paths in the authority repository with digest and size, and the program. Canonical JSON."""
    return encode_canonical(
        {
            "format": REVIEW_FORMAT,
            "name": name,
            "tool": {"version": tool_version, "source_sha256": tool_digest},
            "files": [
                {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
                for path, content in sorted(files.items())
            ],
        }
    )


def reviewed_digest(document: bytes) -> bytes:
    """The digest that is read aloud: SHA-256 of the review document."""
    return hashlib.sha256(document).digest()


def changed_files(reviewed: bytes, now: bytes) -> list[str]:
    """Which files (or the program) differ between two review documents, for the message that refuses."""
    import json

    before, after = json.loads(reviewed), json.loads(now)
    old = {item["path"]: item["sha256"] for item in before["files"]}
    new = {item["path"]: item["sha256"] for item in after["files"]}
    changed = [path for path in sorted(set(old) | set(new)) if old.get(path) != new.get(path)]
    return changed + (["the program itself"] if before["tool"] != after["tool"] else [])

"""Digests of what the project's JSON files say: a changed number does not pass for the one that was written."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST = "digest"  # the key of a document that has the digest of its others


def document_digest(document: Mapping[str, Any]) -> str:
  """SHA-256 of the keys of a document but its digest, as ASCII JSON with sorted keys and no spaces."""
  content = {key: value for key, value in document.items() if key != DIGEST}
  return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()

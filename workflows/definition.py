"""The digest of a definition: it tells runs of an edited pipeline from earlier ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from workflows.contract import Pipeline


def definition_digest(pipeline: Pipeline) -> str:
    """Digest of a definition: twelve hexadecimal digits, equal for equal definitions."""
    return hashlib.sha256(json.dumps(asdict(pipeline), sort_keys=True).encode()).hexdigest()[:12]

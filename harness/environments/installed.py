"""What is installed where this runs. As a script it is read by any interpreter: standard library, nothing of ours."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata


def installed_packages() -> dict[str, str]:
    """Version of `python`, and `packages`: every distribution that this interpreter finds, with its version."""
    # The first one of a name is the one that is imported.
    found: dict[str, str] = {}
    for one in metadata.distributions():
        found.setdefault((one.metadata["Name"] or "").lower().replace("_", "-"), one.version)
    return {"python": platform.python_version(), "packages": ", ".join(f"{n} {v}" for n, v in sorted(found.items()))}


if __name__ == "__main__":
    json.dump(installed_packages(), sys.stdout)

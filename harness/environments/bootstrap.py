"""The script that runs in any Python interpreter: `python -P bootstrap.py [MODULE ARGUMENTS]`.

Without arguments it prints what is installed there. With a module of this harness it runs that module. The harness is
not installed in other environments, and its parent folder must not be on PYTHONPATH: that folder may be the
site-packages of pytest's environment, whose packages would hide those of the other one. So this file uses the standard
library only and registers the package `harness` itself.
"""

from __future__ import annotations

import json
import os
import platform
import runpy
import sys
from importlib import metadata, util
from pathlib import Path

HARNESS = Path(__file__).parents[1]

OVERLAY = "SHIPBENCH_OVERLAY"
"""Environment variable with the folder of an overlay's packages; set for processes that run in one."""


def installed_packages() -> dict[str, str]:
    """Return the version of `python`, and as `packages` every installed distribution with its version.

    In an overlay these are its own: the result records what lies under it.
    """
    packages: dict[str, str] = {}
    overlay = os.environ.get(OVERLAY)
    for distribution in metadata.distributions(path=[overlay]) if overlay else metadata.distributions():
        # Where a distribution is installed twice, the first one is imported.
        packages.setdefault((distribution.metadata["Name"] or "").lower().replace("_", "-"), distribution.version)
    return {"python": platform.python_version(), "packages": ", ".join(f"{n} {v}" for n, v in sorted(packages.items()))}


def run_module() -> None:
    """Register this folder as the package `harness` and run the module that the arguments name."""
    spec = util.spec_from_file_location("harness", HARNESS / "__init__.py", submodule_search_locations=[str(HARNESS)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["harness"] = package = util.module_from_spec(spec)
    spec.loader.exec_module(package)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_module()
    else:
        json.dump(installed_packages(), sys.stdout)

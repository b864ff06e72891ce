"""Runs a module of this very harness in another environment: `python -P launch.py MODULE ARGUMENTS`.

A script, because the harness is not installed there; and not by PYTHONPATH, because the folder that holds the harness
may hold all the packages of its own environment too, which would hide those of the other one.
"""

from __future__ import annotations

import runpy
import sys
from importlib import util
from pathlib import Path

HARNESS = Path(__file__).parents[1]


def main() -> None:
    """Make this folder the package `harness`, and run the module."""
    spec = util.spec_from_file_location("harness", HARNESS / "__init__.py", submodule_search_locations=[str(HARNESS)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["harness"] = package = util.module_from_spec(spec)
    spec.loader.exec_module(package)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

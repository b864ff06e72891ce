"""shipbench: which backend may this fine-tuned model ship on?

The names that a suite needs, each imported when it is first used. Backends come from `harness.backends`, kinds of task
from `harness.kinds`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.contracts.backend import Backend, Python, Session, Target
    from harness.contracts.kind import Arrays, Kind
    from harness.contracts.sources import Folder, Hub, Local, Native, Package, Row, Scratch
    from harness.errors import HarnessError, Incomparable, Unsupported, WorkerError
    from harness.pytest_plugin.bench import Bench
    from harness.spec import Case, Gate, Lora, Model, Recipe, Task, cases

__version__ = "0.2.0.dev0"

__all__ = [
    "Arrays",
    "Backend",
    "Bench",
    "Case",
    "Folder",
    "Gate",
    "HarnessError",
    "Hub",
    "Incomparable",
    "Kind",
    "Local",
    "Lora",
    "Model",
    "Native",
    "Package",
    "Python",
    "Recipe",
    "Row",
    "Scratch",
    "Session",
    "Target",
    "Task",
    "Unsupported",
    "WorkerError",
    "__version__",
    "cases",
]

_MODULES = {
    "contracts.backend": "Backend Python Session Target",
    "contracts.kind": "Arrays Kind",
    "contracts.sources": "Folder Hub Local Native Package Row Scratch",
    "errors": "HarnessError Incomparable Unsupported WorkerError",
    "pytest_plugin.bench": "Bench",
    "spec": "Case Gate Lora Model Recipe Task cases",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: pytest imports this package in every run, with or without cases."""
    for module, names in _MODULES.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

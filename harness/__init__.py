"""shipbench: which backend may this fine-tuned model ship on?

The names that a suite needs. Importing them costs neither torch nor transformers; backends come from
`harness.backends`, kinds of task from `harness.kinds`.
"""

from harness.contracts.backend import Backend, Python, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.contracts.sources import Folder, Hub, Local, Native, Package, Row, Scratch
from harness.errors import HarnessError, Incomparable, Unsupported, WorkerError
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases

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

"""shipbench: which backend may this fine-tuned model ship on?

Everything a suite needs is importable from here, and importing it costs neither torch nor transformers.
"""

from harness import backends, kinds
from harness.backends import *  # noqa: F403  # what its __all__ says, below too
from harness.bench import Bench
from harness.case import Case, cases
from harness.contracts import Arrays, Backend, Session, Target
from harness.errors import HarnessError, Incomparable, Unsupported, WorkerError
from harness.kind import Kind
from harness.kinds import *  # noqa: F403
from harness.origins.sources import Folder, Hub, Local, Native, Package, Row, Scratch
from harness.pythons.interpreter import Python
from harness.spec import Gate, Model, Recipe, Task
from harness.tuning.tuned import tuned
from harness.workers.padding import by_length

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
    "by_length",
    "cases",
    "tuned",
]
__all__ += backends.__all__
__all__ += kinds.__all__

"""A toy suite outside the repository, and what happened when pytest ran it."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import warm
from filelock import FileLock
from hypothesis import settings

from harness.environments.interpreters import FOLDER
from harness.results import store
from harness.results.schema import Result
from harness.util import locks

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
# Slow tests import helpers from these folders, which pytest puts on the path only when it runs their own tests.
sys.path += [str(HERE / folder) for folder in ("backends", "pytest_plugin", "training")]
# The same examples in every run: CI is red for what changed, not for what was drawn. To search, name another profile.
settings.register_profile("same", deadline=None, database=None, derandomize=True)
settings.register_profile("search", deadline=None, database=None)
settings.load_profile("same")
# Optimum's environment is installed once, for all tests and toys, where this repository's own sessions keep it.
os.environ.setdefault(FOLDER, str(REPOSITORY / ".artifacts/environments"))
BAG = HERE / "toy" / "bag.py"
# `pytester` makes the process forget what its test was first to import; what pandas tells pyarrow it tells once only.
pd.DataFrame().to_parquet(io.BytesIO())


@dataclass(frozen=True)
class Run:
    """Exit status and output of one pytest run."""

    status: int
    out: list[str] = field(repr=False)
    err: list[str] = field(repr=False)

    @property
    def text(self) -> str:
        """Everything it said."""
        return "\n".join([*self.out, *self.err])

    def line(self, case: str) -> str:
        """The one line of a case, under the heading of its comparison."""
        (comparison, backend, device), heading, lines = case.rsplit(".", 2), "", []
        for line in self.out:
            heading = line if re.match(r"\[\d+/\d+\] ", line) else heading
            if line.startswith(f"  {backend} ") and f"] {comparison} on {device}, " in heading:
                lines.append(line.strip())
        (found,) = lines
        return found


@dataclass(frozen=True)
class Toy:
    """A folder with a suite in it, named `test_toy.py` and not a part of this repository."""

    folder: Path
    artifacts: Path
    pytester: pytest.Pytester

    def copy(self, suite: str, *beside: str) -> None:
        """Put a file of `toy/` here as the suite, and others beside it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / "toy" / suite, self.folder / "test_toy.py")
        for name in beside:
            shutil.copyfile(HERE / "toy" / name, self.folder / name)

    def run(
        self,
        *options: str,
        undecided: bool = True,
        page: bool = False,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 400,
    ) -> Run:
        """Run the suite from its folder in a process of its own; unless verdicts matter, with one look of one start.

        With a page, all is as a person has it: nothing was imported before.
        """
        words = [
            *("pytest", f"--basetemp={tempfile.mkdtemp(dir=self.pytester.path)}"),
            *(("-p", "toydata.onelook") if undecided else ()),
            *("--ship-launches=1", f"--ship-artifacts={self.artifacts}"),
            # A warm process has imported anyio, which is also a plug-in of pytest.
            *(() if page else ("--ship-no-page", "-W", "ignore::pytest.PytestAssertRewriteWarning")),
            *options,
        ]
        return self.command(*words, env=env, fresh=page, timeout_s=timeout_s)

    def command(
        self, *words: str, env: Mapping[str, str] | None = None, fresh: bool = False, timeout_s: float = 400
    ) -> Run:
        """Run `python -m` with these words from its folder, in a process of its own."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            if fresh:
                done = self.pytester.run(sys.executable, "-m", *words, timeout=timeout_s)
                return Run(int(done.ret), done.outlines, done.errlines)
            return Run(*warm.run(words, self.folder, os.environ, timeout_s))

    def commands(self, *commands: Sequence[str]) -> list[Run]:
        """Run `python -m` with each of these words, one after the other in one process."""
        return [Run(*ended) for ended in warm.run_each(commands, self.folder, os.environ, timeout_s=400)]

    def commit(self) -> None:
        """Make the folder a git repository with one commit."""
        (self.folder / ".gitignore").write_text("__pycache__/\nartifacts/\n")
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
        for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "a suite")):
            subprocess.run(["git", *words], cwd=self.folder, check=True)

    @property
    def results(self) -> dict[str, Result]:
        """Results by name."""
        return {result.name: result for result in store.load_all(self.folder / "results")}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of this test session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toys"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def installed(shared: Path) -> Path:
    """A folder for PYTHONPATH with the distribution `toydata` in it."""
    folder = shared / "installed"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            shutil.copytree(HERE / "toy" / "toydata", folder / "toydata", ignore=shutil.ignore_patterns("__pycache__"))
            distribution(folder, "toydata")
    return folder


def distribution(folder: Path, name: str) -> None:
    """Make `importlib.metadata` believe that `name` is installed in `folder`."""
    described = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


@pytest.fixture
def toy(pytester: pytest.Pytester, shared: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """An empty folder of this test's own; checkpoints and artifacts are shared with all other tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), str(REPOSITORY)]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # there is no such device, on any machine
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # else pytest-benchmark takes the toy for one
    # Toys wait for each other, not for whatever else is measured on this machine.
    (shared / "machine").mkdir(exist_ok=True)
    monkeypatch.setenv(locks.FOLDER, str(shared / "machine"))
    folder = pytester.path / "mine"
    folder.mkdir()
    return Toy(folder, shared / "artifacts", pytester)


Once = Callable[[str, Callable[[Toy], Run]], tuple[Toy, Run]]


@pytest.fixture
def once(toy: Toy, shared: Path) -> Once:
    """Runs something once a session, however many tests and processes look at what it left."""

    def get(name: str, make: Callable[[Toy], Run]) -> tuple[Toy, Run]:
        there = Toy(shared / name, shared / name / "artifacts", toy.pytester)
        kept = shared / f"{name}.json"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                there.folder.mkdir()
                kept.write_text(json.dumps(asdict(make(there))))
        return there, Run(**json.loads(kept.read_text()))

    return get

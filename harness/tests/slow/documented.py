"""The suites in the documents, run by whoever copies them, and the lines of the cards that are published from them."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tiny_models import resolve
from users import readme_example

from conftest import Once, Run, Toy
from harness.backends.onnx_optimum import OPTIMUM
from harness.environments.interpreters import interpreter_environment


def documented_suite(title: str, changes: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the suite whose docstring begins with `title`, each text in `changes` replaced."""
    suite = readme_example(f'"""{title}', "suites/README.md")
    for own, other in changes.items():
        suite = suite.replace(own, other)
    return suite


def run_suites(once: Once, name: str, write: Callable[[Path], object], suites: Mapping[str, str]) -> tuple[Toy, Run]:
    """Run these suites, by file, once a session, beside the rows and models that `write` puts there."""

    def make(toy: Toy) -> Run:
        write(toy.folder)
        for file, suite in suites.items():
            (toy.folder / file).write_text(suite)
        return toy.run("-v", "-p", "no:randomly", "-m", "not cuda", "--ship-budget=8", timeout_s=900)

    return once(f"documented-{name}", make)


def published(toy: Toy, case: str) -> Path:
    """Publish a case, whatever its verdict, and return the folder."""
    words = ("publish", case, "--to", f"out-{case.replace('/', '-')}", "--anyway")
    done = toy.command("harness", *words, "--ship-artifacts", str(toy.artifacts))
    assert 0 == done.status, done.text
    return toy.folder / words[3]


def published_answers(toy: Toy, model: str, lines: str) -> tuple[list[Any], list[Any]]:
    """Return all that `lines` print below those of a model's card, once from PyTorch and once from ONNX Runtime."""
    folders = [published(toy, f"{model}.{backend}.cpu") for backend in ("pytorch", "onnxruntime")]
    scripts = [(folder / "README.md").read_text().split("```python\n")[1].split("```")[0] for folder in folders]
    own, other = (printed(f"{script}\n{lines}", toy.folder) for script in scripts)
    return own, other


def printed(script: str, folder: Path) -> list[Any]:
    """Return the values that a script prints, a line each, in the environment that it needs."""
    variables = interpreter_environment(resolve(OPTIMUM), os.environ) if "from optimum" in script else os.environ
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, env=variables)
    assert not run.returncode, run.stderr
    return [ast.literal_eval(line) for line in run.stdout.splitlines()]

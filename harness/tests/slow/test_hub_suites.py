"""Every suite of the Hub, unchanged, against a small one: fetched, fine-tuned, exported, measured, judged."""

import resource
from collections.abc import Iterator
from pathlib import Path

import hubserver
import pytest
import tiny_hub

from conftest import REPOSITORY, Run
from harness.results import store
from harness.util import locks

pytest_plugins = "pytester"

SUITES = (
    "test_beans.py",
    "test_mrpc.py",
    "test_yelp.py",
    "test_dbpedia.py",
    "test_imagenette.py",
    "test_opus.py",
    "test_gaps.py",
)
PICKLED = ("test_opus.py",)
BEANS = "27aa014ce09b193e1a6f58112d4a66e0eddb69c5"


@pytest.fixture(scope="module")
def server() -> Iterator[hubserver.Server]:
    with hubserver.hub() as server:
        tiny_hub.fill(server)
        yield server


@pytest.fixture
def hub_home(server: hubserver.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and the way to the server."""
    for name, value in {
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(tmp_path),
        locks.FOLDER: str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return tmp_path / "home"


def run(pytester: pytest.Pytester, suites: Path, *options: str) -> Run:
    done = pytester.runpytest_subprocess(
        str(suites), "-p", "no:randomly", "-m", "not cuda", "--ship-budget=5",
        f"--ship-results={pytester.path / 'results'}", f"--ship-artifacts={pytester.path / 'artifacts'}", *options,
        timeout=900,
    )  # fmt: skip
    return Run(int(done.ret), done.outlines, done.errlines)


def copied(pytester: pytest.Pytester, *names: str) -> Path:
    """Return a folder that holds only these suites."""
    folder = pytester.path / "suites"
    folder.mkdir()
    for name in (*names, "models"):
        (folder / name).symlink_to(REPOSITORY / "suites" / name)
    return folder


@pytest.mark.parametrize("suite", SUITES)
def test_hub_suite_is_measured_from_download_to_table(suite, hub_home, pytester):
    suites = copied(pytester, suite)
    done = run(pytester, suites, "--ship-hub")
    assert done.status in (0, 1), done.text  # a toy need not reach min_score
    found = list(store.load_all(pytester.path / "results"))
    assert found
    assert {"ok"} == {result.status for result in found if "onnxruntime-o2" not in result.backend}, done.text
    assert "comparison  " in done.text
    said = any("its weights come as pickles alone" in note for result in found for note in result.notes)
    assert said == (suite in PICKLED)
    # Of DBpedia 100,000 rows: they are encoded in batches, and lie on disk.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 * 1024**2, "2 GiB"


def test_hub_is_not_contacted_without_ship_hub(server, hub_home, pytester):
    before = len(server.asked)
    done = run(pytester, copied(pytester, *SUITES))
    assert 0 == done.status, done.text
    assert "reads the Hugging Face Hub; run with --ship-hub" in done.text
    assert before == len(server.asked)


def test_unpinned_source_stops_before_training(hub_home, pytester):
    suites = pytester.path / "suites"
    suites.mkdir()
    pinned = (REPOSITORY / "suites" / "test_beans.py").read_text()
    (suites / "test_beans.py").write_text(pinned.replace(f', revision="{BEANS}"', ""))
    done = run(pytester, suites, "--ship-hub")
    assert 4 == done.status
    message = (
        f"AI-Lab-Makerere/beans: revision= is missing; pin the commit: Hub('AI-Lab-Makerere/beans', revision='{BEANS}')"
    )
    assert message in done.text
    assert not (pytester.path / "artifacts").exists()


def test_untrained_model_is_judged_again_offline(server, hub_home, pytester, monkeypatch):
    suites = copied(pytester, "test_yelp.py")
    options = ("--ship-hub", "-k", "sentiment and (pytorch or int8)")
    done = run(pytester, suites, *options)
    assert 0 == done.status, done.text
    (found,) = [r for r in store.load_all(pytester.path / "results") if r.backend == "onnxruntime-int8"]
    assert found.answers is not None
    assert found.answers.reference_score is not None
    assert 0.5 < found.answers.reference_score
    asked = len(server.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = run(pytester, suites, *options)
    assert 0 == again.status, again.text
    assert asked == len(server.asked)

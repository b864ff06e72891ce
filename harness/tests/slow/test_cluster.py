"""Sessions over a real Ray cluster on this machine: two nodes, nodes that die, drivers that die."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby, pairwise, product
from pathlib import Path

import psutil
import pytest

from conftest import Toy
from harness.results import store

pytest.importorskip("ray", reason="needs the extra ray")
pytest_plugins = "pytester"

QUICK = ("-p", "no:randomly", "-p", "toydata.onelook", "--ship-launches=1", "--ship-device=cpu", "--ship-no-page")
MACHINES = ("c7i", "m7a")
NAMES = ["left/bag.numpy.cpu", "left/bag.pytorch.cpu", "right/bag.numpy.cpu", "right/bag.pytorch.cpu"]


def add_node(cluster, machine: str):
    """Add a node that offers itself; its files are its own, as on a machine of its own."""
    folder = tempfile.mkdtemp(dir=os.environ["RAY_TMPDIR"])
    return cluster.add_node(num_cpus=1, resources={"shipbench": 1}, labels={"machine": machine}, temp_dir=folder)


@pytest.fixture
def nodes(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A cluster of two nodes that offer themselves, and a head that does not."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("XDG_CACHE_HOME", str(toy.artifacts.parent / "cache"))
    toy.copy("twins.py", "passing.py", "own.py", "bag.py")
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # names of sockets have at most 107 bytes
    monkeypatch.setenv("RAY_TMPDIR", short)
    monkeypatch.setenv("TMPDIR", short)  # tells the processes of this cluster from others
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "ray_client_server_port": port})
    cluster.client = f"ray://127.0.0.1:{port}"
    cluster.workers = [add_node(cluster, name) for name in MACHINES]
    yield cluster
    cluster.shutdown()
    shutil.rmtree(short, ignore_errors=True)


def start(toy: Toy, address: str, *options: str) -> subprocess.Popen[str]:
    """Start a session over the cluster."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *QUICK, f"--ship-ray={address}", *options],
        cwd=toy.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(session: subprocess.Popen[str], timeout_s: float = 280) -> str:
    """Wait for the session's end and return what it printed."""
    text, _ = session.communicate(timeout=timeout_s)
    return text


def sessions_of_nodes() -> list[psutil.Process]:
    """The nodes' pytest sessions and their workers that are alive, of this test's own cluster."""
    alive = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if "lifeline.py pytest" in line or "harness.measure.worker" in line:
                alive += [process] if process.environ().get("TMPDIR") == os.environ["TMPDIR"] else []
    return alive


def await_worker(seconds: float = 120) -> None:
    """Wait until a node measures."""
    until = time.monotonic() + seconds
    while not any("harness.measure.worker" in " ".join(p.cmdline()) for p in sessions_of_nodes()):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_both_tasks_are_measured_and_resumed(toy: Toy, nodes) -> None:
    session = start(toy, nodes.address)
    text = finish(session)
    assert 0 == session.returncode, text
    assert NAMES == sorted(toy.results)
    assert {"ok"} == {result.status for result in toy.results.values()}
    assert (toy.folder / "results/local/left/bag.numpy.cpu.parquet").exists()
    assert "[1/2] left/bag on cpu, on " in text
    again = finish(start(toy, nodes.address, "--ship-resume"))
    assert "[1/2] left/bag on cpu, not measured again" in again


def test_machine_outside_the_cluster_measures_there(toy: Toy, nodes) -> None:
    session = start(toy, nodes.client)
    text = finish(session)
    assert 0 == session.returncode, text
    assert NAMES == sorted(toy.results)
    assert {"ok"} == {result.status for result in toy.results.values()}
    assert "[1/2] left/bag on cpu, on " in text


def test_each_named_machine_measures_everything(toy: Toy, nodes) -> None:
    toy.commit()
    options = (f"--ship-machines={','.join(MACHINES)}", f"--junitxml={toy.folder.parent}/junit.xml")
    session = start(toy, nodes.address, *options)
    text = finish(session)
    assert 0 == session.returncode, text
    places = {result.stored_name: result.status for result in store.load_all(toy.folder / "results")}
    assert {f"{machine}/{name}": "ok" for machine, name in product(MACHINES, NAMES)} == places
    assert "2 comparisons of 4 cases on cpu, each node's own threads, on each of c7i, m7a" in text
    headings = re.findall(r"\[(\d)/4\] (left|right)/bag on cpu of (c7i|m7a), on ", text)
    expected = enumerate(product(MACHINES, ("left", "right")), 1)
    assert [(str(number), task, machine) for number, (machine, task) in expected] == headings
    assert re.search("machine c7i\ncomparison .*machine m7a\ncomparison ", text, re.DOTALL)
    assert 'name="test_toy[m7a-left/bag.numpy.cpu]"' in (toy.folder.parent / "junit.xml").read_text()
    again = finish(start(toy, nodes.address, options[0], "--ship-resume", "-k", "m7a and left"))
    assert "left/bag on cpu of m7a, not measured again" in again


def windows(folder: Path) -> dict[tuple[str, ...], str]:
    """Return beginning, end and host of every launch on record → the task and the measurement that it belongs to."""
    records = [(json.loads(path.read_text()), path.parent.name) for path in sorted(folder.rglob("*.json"))]
    return {
        (window["began"], window["ended"], window["host"]): f"{task} {record['measurement']}"
        for record, task in records
        for window in record["windows"]
    }


def test_no_two_launches_of_a_session_overlap(toy: Toy, nodes) -> None:
    toy.copy("several.py", "passing.py", "own.py", "bag.py")
    session = start(toy, nodes.address, "--ship-launches=2", "--ship-budget=0.4")
    text = finish(session, 560)
    assert 0 == session.returncode, text
    launches = windows(toy.folder / "results")
    ordered = sorted(launches)
    for (began, ended, _), (following, _, _) in pairwise(ordered):
        assert began < ended <= following
    assert 1 == len({host for *_, host in ordered})
    measured = [name for name, _ in groupby(launches[window] for window in ordered)]
    assert 6 == len(measured) == len(set(measured))  # four comparisons and two finals, each in one piece
    assert 12 == len(ordered)
    tasks = [task for task, _ in groupby(name.split()[0] for name in measured)]
    assert len(tasks) > 2  # two nodes were at work at once, and measured in turn


def test_lost_node_is_replaced_and_the_result_says_so(toy: Toy, nodes) -> None:
    session = start(toy, nodes.address)
    await_worker()
    nodes.remove_node(nodes.workers[0], allow_graceful=False)
    text = finish(session)
    assert 0 == session.returncode, text
    assert NAMES == sorted(toy.results)
    notes = [note for result in toy.results.values() for note in result.notes if "attempt 2" in note]
    assert 2 == len(notes)
    assert "its node failed: NodeDiedError" in notes[0]


@pytest.mark.parametrize("way", ["address", "client"])
def test_machine_whose_nodes_all_died_is_given_up(toy: Toy, nodes, way: str) -> None:
    session = start(toy, getattr(nodes, way))
    await_worker()
    for node in nodes.workers:
        nodes.remove_node(node, allow_graceful=False)
    text = finish(session)
    assert 1 == session.returncode, text
    assert "no node of local is left; start one, and go on with --ship-resume" in text


@pytest.mark.parametrize(("way", "seconds"), [("address", 10), ("client", 60)])
def test_driver_that_dies_leaves_no_process(toy: Toy, nodes, way: str, seconds: float) -> None:
    address = getattr(nodes, way)
    session = start(toy, address)
    await_worker()
    os.killpg(session.pid, signal.SIGKILL)
    finish(session)
    until = time.monotonic() + seconds
    while sessions_of_nodes() and time.monotonic() < until:
        time.sleep(0.2)
    assert [] == sessions_of_nodes()
    text = finish(start(toy, address, "--ship-resume"))
    assert NAMES == sorted(toy.results), text


def test_cluster_whose_nodes_do_not_offer_themselves_is_refused(toy: Toy, nodes) -> None:
    for node in nodes.workers:
        nodes.remove_node(node)
    text = finish(start(toy, nodes.address))
    assert "none of 1 nodes offers itself; start each that may measure with ray start --address=…" in text
    assert not Path(toy.folder, "results").exists()

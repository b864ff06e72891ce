"""The driver's books: what arrives, what is missing, what is tried again. A real cluster is in the slow tests."""

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
from factory import HERE, result

from harness.cluster.connect import OURS, _check_address, _check_alike, _choose
from harness.cluster.driver import ATTEMPTS, Batch, Cluster, Comparison, Nodes
from harness.cluster.node import SAME, Ended, Measured, Work, _skipped, run
from harness.cluster.streams import RemoteStreams
from harness.errors import HarnessError

CASES = ("toy-task/toy-model.pytorch.cpu", "toy-task/toy-model.onnxruntime.cpu")
BATCH = Batch(
    "toy-task on cpu", [Comparison({case: f"test_toy.py::test[{case}]" for case in CASES}, "declared")], False
)


def machine(cluster, name="c7i"):
    """Nodes of a machine, which keep results in a list and do not start what is submitted."""
    kept, submitted = [], []
    driver = replace(HERE, machine=name, commit="abc", dirty=False)
    several = Nodes(cluster, driver, HERE, lambda result, answers, trace: kept.append(result), lambda text: None)
    several.results, several.submitted, several.submit = kept, submitted, submitted.append
    return several


@pytest.fixture
def nodes():
    return machine(Cluster(()))


def arrival(case):
    measured = result(case.split(".")[1], fingerprint="of the node", environment=replace(HERE, machine="local"))
    return Measured("node-1", msgspec.json.encode(measured), None, None)


def test_results_are_kept_once_their_comparison_is_complete(nodes):
    nodes.take(BATCH, arrival(CASES[0]))
    assert [] == nodes.results
    nodes.take(BATCH, arrival(CASES[1]))
    assert list(CASES) == [result.name for result in nodes.results]
    assert dict.fromkeys(CASES, "node-1") == nodes.kept


def test_results_get_the_drivers_machine_commit_and_fingerprint(nodes):
    for case in CASES:
        nodes.take(BATCH, arrival(case))
    environment = nodes.results[0].environment
    assert ("c7i", "abc", False, "declared") == (
        environment.machine, environment.commit, environment.dirty, nodes.results[0].fingerprint
    )  # fmt: skip


def test_case_without_a_result_names_the_end_of_its_session(nodes):
    nodes.take(BATCH, arrival(CASES[0]))
    nodes.end(BATCH, Ended("", 1, "a", {}, [], "collecting\nINTERNALERROR> no disk\n"))
    nodes.wait(CASES[0])
    with pytest.raises(
        HarnessError, match=r"onnxruntime\.cpu: .* status 1 and left no result\n.*\n  \| INTERNALERROR> no"
    ):
        nodes.wait(CASES[1])


def test_case_that_its_node_skips_keeps_the_reason(nodes):
    nodes.end(BATCH, Ended("", 0, "a", {f"test[{case}]": "openvino is not installed" for case in CASES}, [], ""))
    nodes.wait(CASES[0])
    assert {"openvino is not installed"} == set(nodes.skipped.values())


def test_lost_cluster_ends_what_runs_and_what_waits(nodes, monkeypatch):
    def lose(reference):
        raise ConnectionError("channel closed")

    ray = SimpleNamespace(get=lose, exceptions=SimpleNamespace(RayError=KeyError))
    monkeypatch.setitem(sys.modules, "ray", ray)
    nodes.cluster.streams = object.__new__(RemoteStreams)
    nodes.cluster.streams._there = SimpleNamespace(next=SimpleNamespace(remote=lambda: None))
    nodes.cluster.running = {1: (nodes, replace(BATCH, comparisons=[Comparison({CASES[1]: "test"}, "")]))}
    nodes.kept[CASES[0]] = "node-1"
    nodes.finish()
    nodes.wait(CASES[0])
    with pytest.raises(HarnessError, match="the cluster is lost: ConnectionError: channel closed; --ship-resume goes"):
        nodes.wait(CASES[1])


def test_failed_node_is_replaced_for_incomplete_comparisons_only(nodes):
    done = Comparison({"toy-task/other.pytorch.cpu": "test_toy.py::test[other]"}, "")
    nodes.kept["toy-task/other.pytorch.cpu"] = "node-1"
    nodes.take(BATCH, arrival(CASES[0]))
    nodes.try_again(replace(BATCH, comparisons=[done, *BATCH.comparisons]), "its node failed: NodeDiedError: gone")
    (again,) = nodes.submitted
    assert (BATCH.comparisons, 2) == (again.comparisons, again.attempt)
    for case in CASES:
        nodes.take(again, arrival(case))
    assert {"measured in attempt 2: its node failed: NodeDiedError: gone"} == {r.notes[-1] for r in nodes.results}


def test_comparison_is_given_up_after_its_last_attempt(nodes):
    nodes.try_again(replace(BATCH, attempt=ATTEMPTS), "its node failed: NodeDiedError: gone")
    assert [] == nodes.submitted
    with pytest.raises(HarnessError, match="given up after 3 attempts: its node failed: NodeDiedError: gone"):
        nodes.wait(CASES[0])


class Played:
    """Streams that give what a test wrote down, in that order."""

    def __init__(self, *pieces, alive=()):
        self.pieces, self.started, self.forgotten, self.alive = list(pieces), [], [], alive

    def start(self, number, work, gpu, labels, avoided):
        self.started.append((number, tuple(work.tests), gpu, labels, avoided))

    def next(self):
        return self.pieces.pop(0)

    def nodes(self, labels):
        return {"a"} if labels["machine"] in self.alive else set()

    def forget(self, number):
        self.forgotten.append(number)


def test_sessions_are_told_apart_by_their_numbers(nodes):
    tests = tuple(f"test_toy.py::test[{case}]" for case in CASES)
    done = Ended("", 0, "a", {}, [], "")
    nodes.cluster.streams = Played(
        (1, arrival(CASES[0])),
        (1, "its node failed: NodeDiedError: gone"),
        (2, arrival(CASES[0])),
        (2, arrival(CASES[1])),
        (2, done),
    )
    nodes.submit = lambda batch: Nodes.submit(nodes, batch)
    nodes.submit(BATCH)
    nodes.finish()
    assert [(number, tests, False, {}, ()) for number in (1, 2)] == nodes.cluster.streams.started
    assert list(CASES) == [result.name for result in nodes.results]
    assert ["toy-task on cpu: its node failed: NodeDiedError: gone"] == nodes.notes


def test_machines_that_share_a_cluster_keep_their_own_results():
    done, other = (
        Ended("", 0, "a", {}, [], ""),
        Batch("toy-task on cpu", [Comparison({CASES[0]: "test"}, "other")], False),
    )
    cluster = Cluster((), Played((2, arrival(CASES[0])), (1, arrival(CASES[0])), (1, arrival(CASES[1])), (1, done)))
    first, second = machine(cluster), machine(cluster, "m7a")
    second.labels = {"machine": "m7a"}
    Nodes.submit(first, BATCH)
    Nodes.submit(second, other)
    first.finish()
    assert list(CASES) == [result.name for result in first.results]
    assert ["m7a/toy-task/toy-model.pytorch.cpu"] == [result.stored_name for result in second.results]
    assert [{}, {"machine": "m7a"}] == [labels for *_, labels, _ in cluster.streams.started]
    assert cluster.is_at_work(second)


def test_session_that_was_ended_on_its_way_is_tried_on_other_nodes_and_its_output_named_in_the_end(nodes):
    broken = [Ended("it ended", 2, node, {}, [b"{}"], "measuring\n! Interrupted\n") for node in "abc"]
    nodes.cluster.streams = Played((1, arrival(CASES[0])), *enumerate(broken, 1))
    nodes.submit = lambda batch: Nodes.submit(nodes, batch)
    nodes.submit(BATCH)
    nodes.finish()
    assert [(), ("a",), ("a", "b")] == [avoided for *_, avoided in nodes.cluster.streams.started]
    assert [[], []] == [nodes.results, nodes.finals]
    with pytest.raises(HarnessError, match=r"given up after 3 attempts: it ended\n  \| measuring\n  \| ! Interrupted"):
        nodes.wait(CASES[0])


def test_comparison_without_a_node_is_given_up_and_others_wait(nodes):
    cluster = nodes.cluster
    cluster.streams = Played(None, None, (2, arrival(CASES[0])), (2, Ended("", 0, "a", {}, [], "")), alive=["m7a"])
    other = machine(cluster, "m7a")
    nodes.labels, other.labels = {"machine": "c7i"}, {"machine": "m7a"}
    Nodes.submit(nodes, BATCH)
    Nodes.submit(other, replace(BATCH, comparisons=[Comparison({CASES[0]: "test"}, "")]))
    with pytest.raises(HarnessError, match="no node of c7i is left; start one, and go on with --ship-resume"):
        nodes.wait(CASES[0])
    assert [1] == cluster.streams.forgotten
    other.finish()
    assert [CASES[0]] == [result.name for result in other.results]


def test_finals_of_a_part_of_the_models_are_left_out(nodes):
    nodes.end(replace(BATCH, lost="its node failed: gone"), Ended("", 0, "a", {}, [b"{}"], ""))
    assert [] == nodes.finals


def test_gpu_comparison_without_a_gpu_is_skipped(nodes):
    Nodes.submit(nodes, replace(BATCH, gpu=True))
    assert dict.fromkeys(CASES, "no node of c7i has a GPU") == nodes.skipped


def test_node_with_other_packages_is_refused_field_by_field():
    other = replace(HERE, python="3.12.1", packages=HERE.packages | {"torch": "9.9"})
    with pytest.raises(
        HarnessError, match=r"node b differs from this machine: python 3\.12\.1, not .*; packages torch 9\.9, not"
    ):
        _check_alike([("this machine", HERE), ("a", replace(HERE, cpu="another")), ("b", other)], OURS, "install")


def test_nodes_of_two_kinds_are_refused():
    with pytest.raises(HarnessError, match=r"node b differs from a: cores 64, not \d+; label them"):
        _check_alike([("a", HERE), ("b", replace(HERE, cores=64))], SAME, "label them")


def test_node_that_joined_later_and_is_another_does_not_measure(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.cluster.node.node_id", lambda: "b")
    (ended,) = run(Work(["test_toy.py"], (), replace(HERE, cores=64)))
    assert "b" == ended.node_id
    assert re.match(r"\S+ differs from the nodes that were checked: cpu .*, not abacus; flags", ended.why)


def entries(*labels):
    return [{"Resources": {"shipbench": 1}, "Labels": {"machine": label} if label else {}} for label in labels]


def test_machine_selects_the_nodes_with_its_label():
    chosen, labels = _choose("auto", entries("c7i", "m7a", "c7i"), "c7i", True)
    assert (2, {"machine": "c7i"}) == (len(chosen), labels)


def test_nodes_without_labels_all_measure():
    assert (2, {}) == (
        len(_choose("auto", entries("", ""), "any", True)[0]),
        _choose("auto", entries("", ""), "any", True)[1],
    )


def test_label_that_no_node_has_is_refused():
    with pytest.raises(HarnessError, match=r"--ship-machine: unknown label of nodes 'c7'; .* did you mean 'c7i'"):
        _choose("auto", entries("c7i", "m7a"), "c7", True)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(("", ""), "names several, and no node has a label; start each with --labels=machine=NAME"),
     (("c7i", "c7i"), "unknown label of nodes 'local'")],
)  # fmt: skip
def test_one_machine_of_several_needs_a_label_of_its_own(labels, message):
    with pytest.raises(HarnessError, match=f"--ship-machine: {message}"):
        _choose("auto", entries(*labels), "local", False)


def test_cluster_without_an_offer_is_refused():
    with pytest.raises(
        HarnessError, match="--ship-ray auto: none of 1 nodes offers itself; start each that may measure"
    ):
        _choose("auto", [{"Resources": {"CPU": 8.0}, "Labels": {}}], "local", True)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:9",
            r"--ship-ray 127\.0\.0\.1:9: nothing answers there: .*; expected auto on a node of a running cluster",
        ),
        ("127.0.0.1:x", "nothing answers there: invalid literal"),
        ("ray://127.0.0.1:9", r"--ship-ray ray://127\.0\.0\.1:9: nothing answers there: .*; expected auto"),
    ],
)
def test_address_without_a_cluster_is_refused(address, message):
    with pytest.raises(HarnessError, match=message):
        _check_address(address)


def test_skipped_cases_are_read_from_junit(tmp_path):
    junit = tmp_path / "junit.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase name="test_toy[a/b.c.cpu]"><skipped message="no GPU"/></testcase>'
        '<testcase name="test_toy[a/b.d.cpu]"/></testsuite></testsuites>'
    )
    assert {"test_toy[a/b.c.cpu]": "no GPU"} == _skipped(junit)
    assert {} == _skipped(tmp_path / "none.xml")

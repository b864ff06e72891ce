"""A session refuses options that make no sense, repeats its own arguments, and names undecided cases."""

import re
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from factory import HERE, answers, failed, result, series, unsupported

from harness import Folder, Gate, Local, Model, Task, cases
from harness.backends import PYTORCH
from harness.commands.cli import main
from harness.contracts.backend import DEVICES
from harness.errors import HarnessError
from harness.pipeline.finals import Lineup
from harness.pytest_plugin import options
from harness.pytest_plugin.cluster_machine import ClusterMachine
from harness.pytest_plugin.items import local_id, selected_of
from harness.pytest_plugin.machine import Machine
from harness.pytest_plugin.selection import Selected, place_of
from harness.pytest_plugin.session import ShipSession
from harness.pytest_plugin.summary import status_reason
from harness.results import store
from harness.results.schema import Constraints, Finals, LabelRows
from harness.spec import TRACKERS
from harness.util.remote import Remote


def defaults():
    """Every option as pytest would give it."""
    found = {}

    def add(name, *_, default=None, action=None, **__):
        found[name[2:].replace("-", "_")] = False if action else default

    options.declare(add)
    return found


def session(folder, arguments=(), **changed):
    return ShipSession.from_options(Namespace(**(defaults() | changed)), folder, arguments)


def items(pairs):
    """Cases and folders as the tests of a session."""
    return {f"test_it.py::test_it[{number}]": Selected(*pair) for number, pair in enumerate(pairs)}


def chosen(several):
    """Cases as the plan takes them."""
    return [Selected(case, Path()) for case in several]


def measured(folder, *results):
    """A session with these results."""
    ship = session(folder)
    ship.machines["local"] = Machine("local", ship, {}, {result.name: result for result in results})
    return ship


@pytest.mark.parametrize(
    ("text", "folder", "url"),
    [
        ("kept", Path("kept"), None),
        ("file:///shared/kept", Path("/shared/kept"), None),
        ("s3://bucket/kept/", Path("/home/me/cache/shipbench"), "s3://bucket/kept"),
    ],
)
def test_artifacts_lie_in_a_folder_and_checkpoints_perhaps_behind_a_url(tmp_path, monkeypatch, text, folder, url):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/cache")
    ship = session(tmp_path, ship_artifacts=options.place(text))
    assert (folder, url and Remote(url)) == (ship.artifacts_folder, ship.remote)
    taken = ship.pipeline_options("local")
    assert (folder, url and Remote(url)) == (taken.artifacts, taken.remote)


@pytest.mark.parametrize("text", ["s3://", "s3:///", "file://", "file://shared/kept", "sftp://me:secret@host/kept"])
def test_half_of_a_url_and_a_password_are_refused(text):
    with pytest.raises(ArgumentTypeError, match=r"names no place; write all|has a password that") as caught:
        options.place(text)
    assert "secret" not in str(caught.value)


def test_url_with_a_name_and_no_password_is_kept():
    url = "abfs://box@account.dfs.core.windows.net/kept"
    assert url == options.place(url)


@pytest.mark.parametrize(
    "words",
    [
        ("setup",),
        ("publish", "task/model.pytorch.cpu", "--to=new"),
        ("selftest", "--list"),
        ("profile", "test_toy.py"),
        ("tune", "test_toy.py"),
    ],
)
def test_commands_take_no_url_for_a_folder(words, capsys):
    with pytest.raises(SystemExit):
        main([*words, "--ship-artifacts=s3://bucket/kept"])
    assert "s3://bucket/kept: is no folder; runs with a URL keep their artifacts in" in capsys.readouterr().err


def test_options_repeat_names_that_they_cannot_import():
    assert (DEVICES, TRACKERS) == (options.DEVICES, options.TRACKERS)
    assert list(options.CONSTRAINTS) == list(Constraints.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_latency_ms", 0.0, "--ship-max-latency-ms 0: must be positive"),
        ("max_memory_mb", -5.0, "--ship-max-memory-mb -5: must be positive"),
        ("budget", 0.0, "--ship-budget 0: must be positive"),
        ("launches", 0, "--ship-launches 0: must be positive"),
        ("launches", 31, "--ship-launches 31: must be at most 30"),
        ("timeout", -1.0, "--ship-timeout -1: must be positive"),
        ("threads", 0, "--ship-threads 0: must be positive"),
        ("threads", 4096, "--ship-threads 4096: must be at most "),
        ("seeds", 0, "--ship-seeds 0: must be positive"),
        ("tail", -1, "--ship-tail -1: must be 0 or more calls"),
        ("batch_sizes", "0,16", "--ship-batch-sizes 0,16: must be whole numbers"),
        ("batch_sizes", "1,16,4", "--ship-batch-sizes 1,16,4: must be whole numbers"),
        ("batch_sizes", "1,1", "--ship-batch-sizes 1,1: must be whole numbers"),
        ("batch_sizes", "1,-4", "--ship-batch-sizes 1,-4: must be whole numbers"),
        ("batch_sizes", "1, 4", "--ship-batch-sizes 1, 4: must be whole numbers"),
        ("batch_sizes", "1,04", "--ship-batch-sizes 1,04: must be whole numbers"),
        ("batch_sizes", "1,2e3", "--ship-batch-sizes 1,2e3: must be whole numbers"),
        ("batch_sizes", "", "--ship-batch-sizes : must be whole numbers"),
        ("machine", "../x", "--ship-machine '../x': use letters"),
        ("machine", "", "--ship-machine '': use letters"),
        ("machine", "c7i,", "--ship-machine '': use letters"),
        ("machine", "c7i,m7a", "--ship-machine c7i,m7a: this machine has one name; name the cluster of several"),
    ],
)
def test_option_that_makes_no_sense_is_refused(tmp_path, name, value, message):
    with pytest.raises(HarnessError) as raised:
        session(tmp_path, **{f"ship_{name}": value}).begin({})
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "value"), [("max_latency_ms", 0.5), ("launches", 30), ("launches", 1), ("tail", 459), ("batch_sizes", "1")]
)
def test_option_that_makes_sense_is_accepted(tmp_path, name, value):
    session(tmp_path, **{f"ship_{name}": value}).begin({})


def test_batch_sizes_are_the_tasks_unless_a_run_names_others(tmp_path):
    given = (None, "1", "1,8,64", "16")
    batches = [session(tmp_path, ship_batch_sizes=text).pipeline_options("local").batches for text in given]
    assert [(), (1,), (1, 8, 64), (16,)] == batches


def test_gates_of_one_comparison_judge_one_batch(tmp_path):
    task = Task(name="t", kind="text-classification", dataset=Folder("t.csv"), inputs=("a",), label="b",
                metric="accuracy")  # fmt: skip
    gates = [Gate(min_score=0.5, max_drop=0.1, batch=batch) for batch in (1, 16)]
    first, second = (cases(task, {Model(name="m", source=Local("m")): gate}) for gate in gates)
    selected = [(case, tmp_path) for case in (*first[:1], *second[1:2])]
    with pytest.raises(HarnessError, match=r"judges speed at batch 16, that of another .* at batch 1; declare one"):
        session(tmp_path).begin(items(selected))


def test_session_repeats_only_its_own_arguments(tmp_path):
    line = [
        "suites", "-k", "int8", "--ship-launches", "2", "--ship-wait=deployed", "-q", "--ship-tail=5", "-x",
        "--ship-require", "decided", "--ship-shard", "2/4", "--ship-shard=3/4", "--ship-machines", "a,b", "--ship-full",
    ]  # fmt: skip
    expected = (
        "--ship-launches", "2", "--ship-wait=deployed", "--ship-tail=5", "--ship-require", "decided", "--ship-machines",
        "a,b", "--ship-full",
    )  # fmt: skip
    assert expected == session(tmp_path, line).arguments


def open_cases(folder, *results):
    return measured(folder, *results).open_cases()


def test_decided_cases_are_not_open(tmp_path):
    decided = [result(), result("fast", 2.0), result("slow", 0.5), result("wrong", answers=answers(lost=60))]
    assert {} == open_cases(tmp_path, *decided, failed("broken"), unsupported())


def test_undecided_and_invalid_cases_are_open_with_reasons(tmp_path):
    results = [result("one", series=(series(2.0, launches=1),)), result("two", series=(series(2.0, control=1.2),))]
    first, second = open_cases(tmp_path, result(), *results)
    assert first.startswith("toy-task/toy-model.one.cpu is undecided: ")
    assert second.startswith("toy-task/toy-model.two.cpu is invalid: ")


def test_only_rounds_are_decided_by_running_again(tmp_path):
    rounds, rows = result("one", series=(series(2.0, launches=1),)), result("two", 2.0, answers=answers(lost=8))
    assert [True] == list(open_cases(tmp_path, rounds).values())
    cases = open_cases(tmp_path, rounds, rows)
    assert [True, False] == list(cases.values())
    assert all("running again will not help" in name or "run again with more" in name for name in cases)
    assert status_reason(8, cases) == (
        "exit status 8: toy-task/toy-model.two.cpu is undecided; running again will not help: see the warnings above; "
        "running again may only decide that toy-task/toy-model.one.cpu is undecided"
    )
    only = open_cases(tmp_path, rounds)
    assert "exit status 7: toy-task/toy-model.one.cpu is undecided; running again may decide" == status_reason(7, only)


def test_brief_sentence_has_reasons_only_where_remedies_tell_nothing(tmp_path):
    few, silent = result("one", series=(series(2.0, launches=1),)), result("two", 2.0, answers=silence())
    machine = measured(tmp_path, result(), few, silent).machines["local"]
    first, second = machine.open_cases(brief=True)
    assert re.fullmatch(r"\S+ is undecided: 60 rounds in 1 launch\(es\) give no interval; run again with .*", first)
    assert re.fullmatch(r"\S+ is undecided: this backend .*never answers 'b' .*; running again will not help", second)


def silence():
    """Answers that never say `b`, though nothing is proven to be lost."""
    same = {"lost": 0, "gained": 0}
    often = LabelRows(label="a", rows=998, correct=950, answered=1000, reference_answered=998, **same)
    return answers(labels=(often, LabelRows(label="b", rows=2, correct=0, answered=0, reference_answered=2, **same)))


def test_session_that_only_skips_is_open_for_good(tmp_path):
    assert {"nothing was measured: every case was skipped": False} == open_cases(tmp_path)


def test_two_suites_with_one_task_name_are_refused(tmp_path):
    task = Task(
        name="mine", kind="text-classification", dataset=Folder("a.csv"), inputs=("text",), label="y", metric="accuracy"
    )
    models = {Model(name=name, source=Local("m")): Gate(min_score=0.5, max_drop=0.1) for name in "ab"}
    first, *_, last = cases(task, models)
    here, there = tmp_path / "one", tmp_path / "two"
    other = replace(last, task=replace(task, metric="f1-macro"))
    for selected in ([(first, here), (last, there)], [(first, here), (other, here)]):
        with pytest.raises(HarnessError, match="task mine: two suites declare different tasks of this name"):
            session(tmp_path).begin(items(selected))


@pytest.mark.parametrize(
    ("here", "path"), [(".", "suites/my suite.py"), ("suites", "my suite.py"), ("x", "../suites/my suite.py")]
)
def test_command_names_a_test_from_the_current_folder(tmp_path, here, path):
    parameters = SimpleNamespace(dir=tmp_path / here)
    item = SimpleNamespace(
        path=tmp_path / "suites" / "my suite.py",
        nodeid="my suite.py::test_toy[toy/bag.numpy.cpu]",  # pytest's rootdir may be anywhere
        config=SimpleNamespace(invocation_params=parameters),
    )
    assert f"{path}::test_toy[toy/bag.numpy.cpu]" == local_id(item)


def planned(folder, count=2, **changed):
    """A session, and the cases of `count` models, one of which each needs a GPU that is not there."""
    task = Task(
        name="mine", kind="text-classification", dataset=Folder("a.csv"), inputs=("text",), label="y", metric="accuracy"
    )
    models = {Model(name=f"m{n}", source=Local("m")): Gate(min_score=0.5, max_drop=0.1) for n in range(count)}
    several = [case for case in cases(task, models) if case.backend.name in ("pytorch", "onnxruntime")]
    return session(folder, **({"ship_budget": 60.0, "ship_threads": 2} | changed)), several


def test_plan_for_a_cluster_names_no_threads_of_this_machine(tmp_path):
    ship, several = planned(tmp_path, ship_ray="auto")
    assert (
        "shipbench: 4 comparisons of 8 cases on cpu and cuda, each node's own threads"
        == ship.plan(chosen(several), {})[0]
    )


def item(case, machine=None, params=()):
    """A test of a session with two machines; `params` are the parts of its id."""
    callspec = SimpleNamespace(
        params={"case": case} | ({"ship_machine": machine} if machine else {}), id="-".join(params)
    )
    config = SimpleNamespace(option=Namespace(ship_machine="c7i,m7a"))
    return SimpleNamespace(
        callspec=callspec, config=config, path=Path("/suites/test_it.py"), nodeid=f"test_it.py::test_it[{callspec.id}]"
    )


def test_test_knows_its_machine_and_its_id_on_a_node(tmp_path):
    _, (case, *_) = planned(tmp_path)
    root = Path("/suites")
    own = selected_of(item(case, "m7a", ("m7a", str(case))), root)
    assert ("m7a", f"test_it.py::test_it[{case}]") == (own.machine, own.test)
    assert selected_of(item(case, None, (str(case),)), root) is None
    with pytest.raises(HarnessError, match="its id must begin with its machine"):
        selected_of(item(case, "m7a", ("x", "m7a", str(case))), root)


def test_finals_of_other_models_are_not_those_of_the_task(tmp_path):
    ship, several = planned(tmp_path, ship_ray="auto")
    held = Finals(
        task="mine", device="cpu", measurement="0123456789ab", fingerprint="", created="2026-01-01", notes=(),
        environment=HERE, metric="accuracy", test_sha256="11", max_drop=0.01, absent={}, disturbance=None, entries=(),
    )  # fmt: skip
    machine = ClusterMachine("local", ship, {}, nodes=SimpleNamespace(finals=[held]), recorded={})
    with pytest.raises(HarnessError, match="m0 were not measured by one session on one node; run the task again"):
        machine.measure_finals(Lineup("mine", "cpu", ((several[0], tmp_path),), {}), "stamp")
    assert "stamp" == machine.measure_finals(Lineup("mine", "cpu", (), {}), "stamp").fingerprint


@pytest.mark.parametrize(("cpu", "kept"), [(HERE.cpu, True), ("another", False)])
def test_results_of_another_kind_of_node_are_not_resumed(tmp_path, cpu, kept):
    ship, several = planned(tmp_path, ship_ray="auto", ship_threads=None, ship_resume=True)
    there, chosen = replace(HERE, cores=4, cpu=cpu), several[:1]
    stored = replace(HERE, machine="local", cores=4, threads=4)
    name = str(chosen[0])
    store.save(
        tmp_path / "results", replace(result(), **parts(name), fingerprint="same", environment=stored, answers=None)
    )
    machine = ClusterMachine("local", ship, {}, nodes=SimpleNamespace(there=there), recorded={})
    comparison = SimpleNamespace(cases=tuple(chosen), folder=tmp_path, fingerprint="same")
    assert kept == machine.resume(place_of(chosen[0]), comparison)
    assert kept or f"cpu was {HERE.cpu}, is another" in machine.notes[0]


def parts(name):
    task, _, rest = name.partition("/")
    return dict(zip(("task", "model", "backend", "device"), (task, *rest.rsplit(".", 2)), strict=True))


def test_plan_says_what_runs_and_what_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.pytest_plugin.selection.no_cuda", lambda: "no CUDA device")
    ship, several = planned(tmp_path)
    ship.left_out["--ship-backends all"] = 12
    ship.left_out["--ship-full"] = 1
    assert [
        "shipbench: 2 comparisons of 4 cases on cpu, 2 threads",
        "each has at most 60 s of rounds, after training, builds and answers",
        "skipped: 4 cases: no CUDA device",
        "left out: 12 cases (run with --ship-backends all), 1 case (run with --ship-full)",
    ] == ship.plan(chosen(several), {"mine/m0 on cpu": 70.0})


def test_plan_says_how_long_the_same_comparisons_took(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.pytest_plugin.selection.no_cuda", lambda: "no CUDA device")
    ship, several = planned(tmp_path)
    earlier = {"mine/m0 on cpu": 70.0, "mine/m1 on cpu": 90.4, "finals of mine on cpu": 20.0, "mine/m2 on cpu": 1000.0}
    _, took, skipped = ship.plan(chosen(several), earlier)
    assert "last time they took 3 min 0 s" == took
    assert skipped.startswith("skipped: ")


def test_plan_without_a_case_that_runs_names_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.pytest_plugin.selection.no_cuda", lambda: "no CUDA device")
    ship, several = planned(tmp_path)
    assert ["skipped: 4 cases: no CUDA device"] == ship.plan(chosen(c for c in several if c.device == "cuda"), {})
    assert [] == ship.plan([], {})


def test_result_that_came_before_its_test_has_a_heading(tmp_path):
    ship, (case, *_) = planned(tmp_path, ship_ray="auto")
    ship.comparisons = 1
    nodes = SimpleNamespace(kept={str(case): "node-1"}, skipped={}, wait=lambda name: None)
    machine = ClusterMachine("local", ship, {}, {str(case): result()}, nodes=nodes, recorded={})
    assert machine.skip_reason(case) is None
    assert ["[1/1] mine/m0 on cpu, on node-1"] == list(ship.headings.values())


def test_cluster_gets_the_longest_task_first(tmp_path, monkeypatch):
    ship, _ = planned(tmp_path, ship_ray="auto")
    task = Task(
        name="mine", kind="text-classification", dataset=Folder("a.csv"), inputs=("text",), label="y", metric="accuracy"
    )
    model = Model(name="m", source=Local("m"))
    several = [c for name in ("short", "long", "new") for c in cases(replace(task, name=name), [model], [PYTORCH])]
    selected = {str(case): Selected(case, tmp_path) for case in several if case.device == "cpu"}
    seconds = {"short/m.pytorch.cpu": 1.0, "long/m.pytorch.cpu": 9.0}
    monkeypatch.setattr("harness.pytest_plugin.resume.comparison_fingerprint", lambda *arguments: "")
    sent = []
    ClusterMachine("local", ship, selected, nodes=SimpleNamespace(submit=sent.append), recorded=seconds).begin()
    assert ["long on cpu", "new on cpu", "short on cpu"] == [batch.name for batch in sent]

"""Laws of workers, real ones: what they answer, how they die, what is said of it, and that none is left."""

import json
import os
import runpy
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import psutil
import pytest

import harness
from harness.contracts.backend import Backend, Target
from harness.errors import HarnessError, Unsupported, WorkerError
from harness.kinds import image_classification
from harness.measure.client import INHERITED, Worker, worker_environment

pytestmark = pytest.mark.timeout(60)  # a worker that is not ended would be waited for
TOYS = '''
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np

from harness.workers import wire
from harness.contracts import (Session)
from harness.errors import (Unsupported)


def session(run, device="cpu", **settings):
    return Session(run, device, {"pid": str(os.getpid())} | settings)


def double(arrays):
    return {"logits": 2 * arrays["x"]}


def ok(artifact, target):
    print("stdout is no part of the pipe")
    return session(double, artifact=str(artifact), target=json.dumps(target))


def telling(artifact, target):
    return session(double, environ=json.dumps(dict(os.environ)), modules=json.dumps(sorted(sys.modules)))


def counting(artifact, target):
    calls = []
    def run(arrays):
        calls.append(1)
        return {"calls": np.array(len(calls)).reshape(1)}
    return session(run)


def fails_to_load(artifact, target):
    raise ValueError("no weights here")


def refuses(artifact, target):
    raise Unsupported("it has no such operator")


def wrong_device(artifact, target):
    return session(double, device="cuda", providers="CUDAExecutionProvider")


def never_rests(artifact, target):
    def spin():
        while True:
            pass
    threading.Thread(target=spin, daemon=True).start()
    return session(double)


def exits(artifact, target):
    sys.exit(3)


def hangs_in_load(artifact, target):
    print("about to hang", file=sys.stderr, flush=True)
    time.sleep(30)


def talks_and_dies(artifact, target):
    for number in range(20):
        print(f"line {number}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def runs(how):
    """A loader whose session does `how` when it is called."""
    def load(artifact, target):
        return session(how)
    load.__qualname__ = load.__name__ = f"in_run_{how.__name__}"
    return load


def raises(arrays):
    raise ArithmeticError("a kernel gave up")


def is_killed(arrays):
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def crashes(arrays):
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(arrays):
    print("about to hang", file=sys.stderr, flush=True)
    time.sleep(30)


def answers_lists(arrays):
    return {"logits": [[1.0, 2.0]]}


def answers_a_tuple(arrays):
    return (arrays["x"],)


def answers_objects(arrays):
    return {"logits": np.array([object()])}


def answers_a_scalar(arrays):
    return {"drop": np.array(0.5)}


def answers_nothing(arrays):
    return {}


class Lazy(np.ndarray):
    """Could compute when it is read, after the clock has stopped."""


def answers_a_lazy_array(arrays):
    return {"logits": arrays["x"].view(Lazy)}


def answers_too_early(arrays):
    """Returns a buffer that a thread fills after the window, before anything is sent."""
    logits = np.zeros(3)
    thread = threading.Thread(target=logits.fill, args=(1,))
    send = wire.send
    def later(*frame):
        wire.send = send
        thread.start()
        thread.join()
        send(*frame)
    wire.send = later
    return {"logits": logits}


def works(arrays):
    until = time.process_time_ns() + 50_000_000
    while time.process_time_ns() < until:
        pass
    return {}


def sleeps(arrays):
    time.sleep(0.05)
    return {}


def leaves_quietly(arrays):
    os._exit(0)


for how in (raises, is_killed, crashes, hangs, answers_lists, answers_a_tuple, answers_objects, answers_a_scalar,
            answers_nothing, answers_a_lazy_array, answers_too_early, works, sleeps, leaves_quietly):
    globals()[f"in_run_{how.__name__}"] = runs(how)


def clock_that_stops(artifact, target):
    """The worker's clock gives one reading for ever."""
    def run(arrays):
        return {}
    sys.modules["__main__"].perf_counter_ns = lambda: 1_000_000
    return session(run)


def clock_that_steps(artifact, target):
    """The worker's clock is set back while the backend runs."""
    def run(arrays):
        sys.modules["__main__"].perf_counter_ns = lambda: 1
        return {}
    return session(run)


def clock_before_time(artifact, target):
    """The worker's clock goes forward, below zero."""
    readings = iter(range(-100, 0))
    def run(arrays):
        return {}
    sys.modules["__main__"].perf_counter_ns = lambda: next(readings)
    return session(run)


def loads_slowly(artifact, target):
    import toy_runtime
    time.sleep(0.1)
    return session(double)


def compiles(artifact, target):
    """Prepares for 50 ms, and says how often and for what it did."""
    shapes = []
    def compile(arrays):
        time.sleep(0.05)
        shapes.append(arrays["x"].shape)
    def run(arrays):
        return {"shapes": np.array(shapes)}
    return session(run)._replace(compile=compile)


def fails_to_compile(artifact, target):
    def compile(arrays):
        raise ArithmeticError("no such kernel")
    return session(double)._replace(compile=compile)


def tells_what_it_is_given(artifact, target):
    """Answers with names: of the arrays that it prepares for, and of those that it answers to."""
    prepared = []
    def run(arrays):
        return {"run": np.array(sorted(arrays)), "compiled": np.array(prepared), "x": arrays["x"]}
    return session(run)._replace(compile=prepared.extend)


def of_the_batch(batch, outputs):
    """What is kept of `tells_what_it_is_given`, with what lay aside and when that was looked at."""
    time.sleep(0.05)
    return {**outputs, "x": outputs["x"] + batch["aside"], "at": np.array([[time.perf_counter_ns()]])}


def gives_up(batch, outputs):
    raise ArithmeticError("nothing to keep")


def parent_of_another(artifact, target):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    return session(double, child=str(child.pid))


def parent_that_dies(artifact, target):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    (artifact / "child.txt").write_text(str(child.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def shuts_the_pipe(artifact, target):
    """Closes every inherited descriptor, as a library that daemonises does, and stays."""
    def run(arrays):
        os.closerange(3, 256)
        time.sleep(15)
        (artifact / "outlived.txt").write_text("the error")
        return {}
    return session(run)
'''
HERE = Path(harness.__file__).parents[1]
X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture(scope="module")
def loaders(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "toy_backends.py"
    path.write_text(TOYS)
    return runpy.run_path(str(path))


@pytest.fixture
def start(loaders, tmp_path):
    """Starts a worker of the toy backend of that name."""

    def worker(name, timeout_s=60.0, threads=1, kind=None, choices=None, options=None, imports=()):
        toy = Backend(name=name, load=loaders[name], choices=choices or {}, options=options or {}, imports=imports)
        return Worker(toy, tmp_path, Target("cpu", threads), timeout_s, kind=kind)

    return worker


@pytest.fixture(autouse=True)
def _nothing_left():
    """After every test, no process is left that it started."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set() == set(psutil.Process().children(recursive=True)) - before


def is_gone(pid):
    """Whether the process has ended; waits for one that is about to."""
    try:
        process = psutil.Process(int(pid))
        process.wait(timeout=5)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE  # whoever adopted it has not looked yet
    return True


def ask(start, name, **options):
    """A worker's answer to one batch."""
    with start(name, **options) as worker:
        worker.put(X)
        return worker.run()


def error_of(start, name, **options):
    """What is said of a worker that fails when it is started, handed a batch, or run."""
    with pytest.raises(WorkerError) as caught:
        ask(start, name, **options)
    return str(caught.value)


# Answers


def test_a_worker_answers_what_its_backend_answers(start):
    with start("ok") as worker:
        worker.put(X)
        found = worker.run()
    assert ["logits"] == list(found.outputs)
    np.testing.assert_array_equal(2 * X["x"], found.outputs["logits"])


def test_a_worker_answers_as_often_as_it_is_asked(start):
    with start("ok") as worker:
        for number in range(20):
            worker.put({"x": np.full((1, number + 1), number)})
            assert [2 * number] * (number + 1) == worker.run().outputs["logits"][0].tolist()


def test_a_block_calls_the_backend_as_often_as_it_says(start):
    with start("counting") as worker:
        counts = []
        for loops in (1, 5, 10):
            worker.put(X)
            counts.append(int(worker.run(loops).outputs["calls"][0]))
    assert [1, 6, 16] == counts


@pytest.fixture
def keeps(loaders):
    """A kind that makes of outputs what the toy function of that name does, with an array aside."""
    return lambda name: replace(image_classification, aside=("aside",), reduce=loaders[name])


def test_what_lies_aside_is_for_the_reduction_alone(start, keeps):
    with start("tells_what_it_is_given", kind=keeps("of_the_batch")) as worker:
        for aside in (10, 20):
            worker.put({"x": np.ones((1, 2)), "aside": np.full((1, 2), aside)})
            found = worker.run(loops=3).outputs
            assert ({"x"}, {"x"}) == (set(found["run"]), set(found["compiled"]))
            assert [[aside + 1] * 2] == found["x"].tolist()


def test_outputs_are_reduced_once_the_window_has_closed(start, keeps):
    with start("tells_what_it_is_given", kind=keeps("of_the_batch")) as worker:
        worker.put({"x": np.ones((1, 2)), "aside": np.ones((1, 2))})
        found = worker.run()
    # Both are readings of one clock; the reduction takes 50 ms.
    assert found.ended_ns + 50_000_000 <= found.outputs["at"].item()


def test_a_reduction_that_fails_is_told(start, keeps):
    assert "ArithmeticError: nothing to keep" in error_of(start, "ok", kind=keeps("gives_up"))


def test_a_kind_that_keeps_all_gives_all_arrays(start):
    with start("tells_what_it_is_given", kind=image_classification) as worker:
        worker.put({"x": np.ones((1, 2)), "aside": np.ones((1, 2))})
        assert ["aside", "x"] == worker.run().outputs["run"].tolist()


def test_a_batch_larger_than_any_buffer_is_answered(start):
    large = {"x": np.random.default_rng(0).random((1000, 1000))}
    with start("ok") as worker:
        worker.put(large)
        np.testing.assert_array_equal(2 * large["x"], worker.run().outputs["logits"])


def test_an_output_may_be_a_scalar(start):
    with start("in_run_answers_a_scalar") as worker:
        worker.put(X)
        found = worker.run().outputs["drop"]
    assert ((), 0.5) == (found.shape, found.item())


def test_a_backend_may_answer_nothing(start):
    with start("in_run_answers_nothing") as worker:
        worker.put(X)
        assert {} == worker.run().outputs


def test_the_window_lies_between_the_question_and_the_answer(start):
    with start("ok") as worker:
        worker.put(X)
        asked = perf_counter_ns()
        found = worker.run()
        answered = perf_counter_ns()
    assert asked < found.began_ns < found.ended_ns < answered


def test_memory_is_the_workers_own(start):
    ours = np.ones(30_000_000)  # 240 MB
    with start("ok") as worker:
        worker.put(X)
        peak = worker.run().peak_rss_bytes
    assert 1_000_000 < peak < ours.nbytes


def test_an_answer_that_is_finished_later_is_sent_as_it_was_when_the_clock_stopped(start):
    with start("in_run_answers_too_early") as worker:
        worker.put(X)
        assert [0, 0, 0] == worker.run().outputs["logits"].tolist()


@pytest.mark.parametrize(("name", "least", "most"), [("in_run_works", 50e6, 500e6), ("in_run_sleeps", 0, 25e6)])
def test_work_takes_cpu_time_and_sleep_takes_none(start, name, least, most):
    found = ask(start, name)
    assert found.ended_ns - found.began_ns >= 49_000_000
    assert least <= found.cpu_ns <= most
    assert found.switches >= 0


def test_a_workers_number_is_known(start):
    with start("ok") as worker:
        assert str(worker.pid) == worker.loaded["settings"]["pid"]


@pytest.mark.parametrize("name", ["clock_that_stops", "clock_that_steps", "clock_before_time"])
def test_a_window_of_a_clock_that_does_not_go_forward_is_refused(start, name):
    assert error_of(start, name).startswith(f"{name}: the worker's clock stepped: a window from ")


# Phases


def test_import_phase_covers_declared_modules(start, tmp_path, monkeypatch):
    (tmp_path / "toy_runtime.py").write_text("import time; time.sleep(0.2)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with start("loads_slowly", imports=("toy_runtime",)) as worker:
        loaded = worker.loaded
    assert 200_000_000 <= loaded["import_ns"] < 1_000_000_000
    assert 100_000_000 <= loaded["load_ns"] < 200_000_000
    with start("loads_slowly") as worker:
        assert worker.loaded["load_ns"] >= 300_000_000


def test_missing_declared_module_fails_the_worker(start):
    message = error_of(start, "ok", imports=("no_such_runtime",))
    assert message.startswith("ok: ModuleNotFoundError: No module named 'no_such_runtime'\n")


def test_a_backend_prepares_once_for_the_first_batch_and_before_its_window(start):
    with start("compiles") as worker:
        assert 0 == worker.compile_ns
        worker.put(X)
        compile_ns = worker.compile_ns
        first = worker.run()
        worker.put({"x": np.zeros((4, 4))})
        shapes = worker.run().outputs["shapes"]
    assert 50_000_000 <= compile_ns == worker.compile_ns < 1_000_000_000
    assert first.ended_ns - first.began_ns < 50_000_000
    assert [[2, 3]] == shapes.tolist()


def test_a_backend_that_needs_no_preparing_took_no_time_for_it(start):
    with start("ok") as worker:
        worker.put(X)
        assert 0 == worker.compile_ns


def test_an_error_while_preparing_is_told(start):
    assert error_of(start, "fails_to_compile").startswith("fails_to_compile: ArithmeticError: no such kernel\n")


def test_a_loaded_worker_says_what_it_runs_on(start, tmp_path):
    with start("ok", threads=2) as worker:
        loaded = worker.loaded
    assert loaded["load_ns"] > 0
    assert "cpu" == loaded["device"]
    assert (str(tmp_path), "") == (loaded["settings"]["artifact"], loaded["settings"]["imported"])
    assert Target("cpu", 2) == Target(*json.loads(loaded["settings"]["target"]))


# What it is given


def test_a_backend_is_told_what_was_chosen_for_it_and_that_is_on_record(start):
    with start("ok", threads=2, choices={"arena": (True, False)}, options={"threads": 1, "arena": False}) as worker:
        settings = worker.loaded["settings"]
    assert ["cpu", 1, False, {"arena": False, "threads": 1}] == json.loads(settings["target"])
    assert "arena=off, threads=1" == settings["options"]


def test_own_threads_and_spinning_shape_the_environment_too(start):
    chosen = json.loads(settings_of(start, threads=4, options={"threads": 2, "spinning": True})["environ"])
    assert ("2", "2", "active") == tuple(
        chosen[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    )


def idle_cpu_s(worker, seconds=0.3):
    """What a worker uses while nobody asks it anything."""
    process = psutil.Process(worker.pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


def test_a_worker_that_chose_to_spin_stands_still_while_others_answer(start):
    with start("never_rests", options={"spinning": True}) as still, start("never_rests") as restless:
        for worker in (still, restless):
            worker.put(X)
            worker.run()
        assert idle_cpu_s(restless) > 0.05
        assert idle_cpu_s(still) <= 0.02  # ticks are of 10 ms
        still.put(X)
        assert (2 * X["x"]).tolist() == still.run().outputs["logits"].tolist()


def test_the_death_of_a_worker_that_stood_still_is_told(start):
    with start("never_rests", options={"spinning": True}) as worker:
        worker.put(X)
        os.kill(worker.pid, signal.SIGKILL)
        assert "killed by SIGKILL" in error_of_run(worker)


def error_of_run(worker):
    with pytest.raises(WorkerError) as caught:
        worker.run()
    return str(caught.value)


def settings_of(start, name="telling", **options):
    with start(name, **options) as worker:
        return worker.loaded["settings"]


def test_a_workers_environment_is_the_allow_list(start, monkeypatch):
    monkeypatch.setenv("TOY_SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere.py")
    monkeypatch.setenv("HF_HOME", "/toy/cache")
    found = json.loads(settings_of(start)["environ"])
    found.pop("LC_CTYPE", None)  # Python sets it itself, where the locale is C
    assert worker_environment(1) == found
    assert "/toy/cache" == found["HF_HOME"]
    assert "passive" == found["OMP_WAIT_POLICY"]
    allowed = {"PYTHONPATH", "PYTHONHASHSEED", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"}
    allowed |= {"TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "NVIDIA_TF32_OVERRIDE", "CUDA_DEVICE_ORDER"}
    assert set(found) <= {*INHERITED, *allowed}


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_set_in_every_way_that_libraries_read(threads):
    found = worker_environment(threads)
    assert (str(threads), str(threads)) == (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"])


@pytest.mark.parametrize(("spinning", "policy"), [(False, "passive"), (True, "active")])
def test_idle_threads_sleep_unless_told_to_spin(spinning, policy):
    assert policy == worker_environment(1, spinning)["OMP_WAIT_POLICY"]


def test_what_is_not_set_here_is_not_set_there(monkeypatch):
    monkeypatch.delenv("HF_HOME", raising=False)
    assert "HF_HOME" not in worker_environment(1)


def test_a_worker_of_a_toy_imports_numpy_and_no_other_library(start):
    modules = set(json.loads(settings_of(start)["modules"]))
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    libraries = {line.split("=")[0].split(">")[0].strip().replace("-", "_") for line in lines} - {"numpy"}
    libraries |= {"sklearn", "cpuinfo", "pytest", "_pytest", "hypothesis"}
    assert {"torch", "transformers", "pandas", "onnxruntime", "filelock"} <= libraries
    assert {"numpy", "harness.measure.protocol"} <= modules
    assert set() == libraries & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("name", ["numpy.py", "harness.py", "socket.py"])
def test_a_worker_does_not_depend_on_the_folder_it_is_started_from(start, tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("raise ImportError('a file of the user that happens to have this name')")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(2 * X["x"], ask(start, "ok").outputs["logits"])


# How it dies


def test_an_error_while_loading_is_told_with_its_traceback(start):
    said = error_of(start, "fails_to_load")
    assert said.startswith("fails_to_load: ValueError: no weights here\n")
    assert '  |     raise ValueError("no weights here")' in said
    assert said.endswith("\n  | ValueError: no weights here")


def test_a_refusal_while_loading_is_unsupported_in_its_own_words_and_a_worker_lost(start):
    with pytest.raises(Unsupported, match=r"^it has no such operator$") as caught:
        start("refuses")
    assert isinstance(caught.value, WorkerError)


def test_an_error_while_running_is_told_with_its_traceback(start):
    said = error_of(start, "in_run_raises")
    assert said.startswith("in_run_raises: ArithmeticError: a kernel gave up\n")
    assert '  |     raise ArithmeticError("a kernel gave up")' in said


def test_a_killed_worker_is_told_with_its_signal_and_last_words(start):
    said = error_of(start, "in_run_is_killed")
    assert "in_run_is_killed: the worker was killed by SIGKILL\n  | last words" == said


def test_a_crashed_worker_is_told_with_its_signal(start):
    assert "in_run_crashes: the worker was killed by SIGSEGV" in error_of(start, "in_run_crashes")


def test_only_the_last_lines_are_told(start):
    said = error_of(start, "talks_and_dies")
    expected = "".join(f"\n  | line {number}" for number in range(12, 20))
    assert f"talks_and_dies: the worker was killed by SIGKILL{expected}" == said


def test_a_worker_that_hangs_while_loading_is_ended_and_told_with_the_time_it_had(start):
    said = error_of(start, "hangs_in_load", timeout_s=3)
    assert "hangs_in_load: the worker gave no answer within 3 s\n  | about to hang" == said


def test_a_worker_that_hangs_while_running_is_ended_and_told_with_the_time_it_had(start):
    with start("in_run_hangs", timeout_s=3) as worker:
        pid = worker.loaded["settings"]["pid"]
        worker.put(X)
        with pytest.raises(WorkerError) as caught:
            worker.run()
        assert is_gone(pid)
    assert "in_run_hangs: the worker gave no answer within 3 s\n  | about to hang" == str(caught.value)


def test_a_worker_that_exits_is_told_with_its_status(start):
    assert "exits: the worker was ended with exit status 3" == error_of(start, "exits")


def test_a_worker_that_leaves_without_an_answer_has_failed(start):
    assert "ended with exit status 0" in error_of(start, "in_run_leaves_quietly")


def test_a_backend_on_another_device_than_asked_for_is_refused(start):
    said = error_of(start, "wrong_device")
    assert said.startswith("wrong_device: RuntimeError: asked for cpu, the runtime runs on cuda (")
    assert "CUDAExecutionProvider" in said.splitlines()[0]


def test_an_answer_that_is_no_array_is_refused(start):
    said = error_of(start, "in_run_answers_lists")
    expected = "in_run_answers_lists: TypeError: output logits is list; a backend answers with host arrays\n"
    assert said.startswith(expected)


def test_an_answer_that_could_compute_when_it_is_read_is_refused(start):
    said = error_of(start, "in_run_answers_a_lazy_array")
    assert said.startswith("in_run_answers_a_lazy_array: TypeError: output logits is Lazy; a backend answers with host")


@pytest.mark.parametrize("name", ["in_run_answers_a_tuple", "in_run_answers_objects"])
def test_an_answer_that_cannot_be_sent_is_refused(start, name):
    assert f"{name}: " == error_of(start, name)[: len(name) + 2]


def test_a_worker_that_died_before_is_told_when_it_is_handed_the_next_batch(start):
    with start("ok") as worker:
        os.kill(int(worker.loaded["settings"]["pid"]), signal.SIGTERM)
        with pytest.raises(WorkerError, match="ok: the worker was killed by SIGTERM"):
            worker.put(X)


def test_a_worker_that_shuts_its_pipe_and_stays_is_ended(start, tmp_path):
    assert error_of(start, "shuts_the_pipe").startswith("shuts_the_pipe: the worker ")
    assert not (tmp_path / "outlived.txt").exists()


def test_a_function_that_no_worker_could_find_starts_none(tmp_path):
    before = psutil.Process().children()
    backend = Backend(name="inner", load=lambda artifact, target: None)
    with pytest.raises(HarnessError, match="a backend's functions must stand at module level") as caught:
        Worker(backend, tmp_path, Target("cpu", 1), 60)
    assert before == psutil.Process().children(), caught  # the error holds on to what it was raised from


# What is left of it


def test_leaving_ends_the_worker(start):
    with start("ok") as worker:
        pid = worker.loaded["settings"]["pid"]
        assert psutil.pid_exists(int(pid))
    assert is_gone(pid)


def test_an_error_of_the_parent_ends_the_worker(start):
    pids = []

    def interrupted():
        with start("ok") as worker:
            pids.append(worker.loaded["settings"]["pid"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert is_gone(pids[0])


def test_a_worker_may_be_closed_twice(start):
    worker = start("ok")
    worker.close()
    worker.close()


def test_what_a_worker_started_ends_with_it(start):
    with start("parent_of_another") as worker:
        child = worker.loaded["settings"]["child"]
        assert psutil.pid_exists(int(child))
    assert is_gone(child)


def test_what_a_worker_started_ends_though_it_died_first(start, tmp_path):
    error_of(start, "parent_that_dies")
    child = int((tmp_path / "child.txt").read_text())
    try:
        assert is_gone(child)
    finally:
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)


def test_a_worker_ends_when_its_parent_is_killed(loaders):
    program = textwrap.dedent(
        f"""
        import os, runpy, signal
        from pathlib import Path
        from harness.workers.process import Worker
        from harness.contracts import (Backend, Target)
        load = runpy.run_path({loaders["__file__"]!r})["ok"]
        worker = Worker(Backend(name="ok", load=load), Path("."), Target("cpu", 1), 60)
        print(worker.loaded["settings"]["pid"], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=HERE, check=False)
    assert -signal.SIGKILL == done.returncode
    assert is_gone(done.stdout)

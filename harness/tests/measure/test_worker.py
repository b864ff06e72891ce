"""Real workers of toy backends: their answers, their environment, how they die, and that none is left."""

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
from harness.measure import client
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

from harness.contracts.backend import Session
from harness.errors import Unsupported
from harness.measure import protocol


def session(run, device="cpu", **settings):
    return Session(run, device, {"pid": str(os.getpid())} | settings)


def double(arrays):
    return {"logits": 2 * arrays["x"]}


def ok(artifact, target):
    print("stdout is not part of the pipe")
    return session(double, artifact=str(artifact), target=json.dumps(target))


def reporting(artifact, target):
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
    return {"loss": np.array(0.5)}


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
    send = protocol.send
    def later(*frame):
        protocol.send = send
        thread.start()
        thread.join()
        send(*frame)
    protocol.send = later
    return {"logits": logits}


def works(arrays):
    until = time.process_time_ns() + 50_000_000
    while time.process_time_ns() < until:
        pass
    return {}


def sleeps(arrays):
    time.sleep(0.05)
    return {}


def writes(arrays):
    time.sleep(0.02)
    first_ns = time.perf_counter_ns()
    time.sleep(0.02)
    return {"sequences": arrays["x"], "first_token_ns": np.array([first_ns, first_ns - 5])}


def leaves_quietly(arrays):
    os._exit(0)


def in_run(function):
    """Return a loader whose session calls `function`."""
    def load(artifact, target):
        return session(function)
    load.__qualname__ = load.__name__ = f"in_run_{function.__name__}"
    return load


for function in (raises, is_killed, crashes, hangs, answers_lists, answers_a_tuple, answers_objects, answers_a_scalar,
                 answers_nothing, answers_a_lazy_array, answers_too_early, works, sleeps, writes, leaves_quietly):
    globals()[f"in_run_{function.__name__}"] = in_run(function)


def clock_that_stops(artifact, target):
    sys.modules["__main__"].perf_counter_ns = lambda: 1_000_000
    return session(answers_nothing)


def clock_that_steps(artifact, target):
    """Sets the clock back while the backend runs."""
    def run(arrays):
        sys.modules["__main__"].perf_counter_ns = lambda: 1
        return {}
    return session(run)


def clock_before_time(artifact, target):
    """The clock goes forward, below zero."""
    readings = iter(range(-100, 0))
    sys.modules["__main__"].perf_counter_ns = lambda: next(readings)
    return session(answers_nothing)


def loads_slowly(artifact, target):
    import toy_runtime
    time.sleep(0.1)
    return session(double)


def compiles(artifact, target):
    """Prepares for 50 ms, and answers with the shapes that it prepared for."""
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


def names_its_inputs(artifact, target):
    """Answers with the names of the arrays that it compiles for and runs on."""
    compiled = []
    def run(arrays):
        return {"run": np.array(sorted(arrays)), "compiled": np.array(compiled), "x": arrays["x"]}
    return session(run)._replace(compile=compiled.extend)


def add_hidden(batch, outputs):
    """Reduces the outputs of `names_its_inputs` with the hidden array, and records when."""
    time.sleep(0.05)
    return {**outputs, "x": outputs["x"] + batch["hidden"], "at": np.array([[time.perf_counter_ns()]])}


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
    """Start a worker of the toy backend of that name."""

    def worker(name, timeout_s=60.0, threads=1, kind=None, alone=True, **declared):
        toy = Backend(name=name, load=loaders[name], **declared)
        return Worker(toy, tmp_path, Target("cpu", threads), timeout_s, kind=kind, alone=alone)

    return worker


@pytest.fixture(autouse=True)
def _no_process_left():
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set() == set(psutil.Process().children(recursive=True)) - before


def is_gone(pid):
    """Return True if the process has ended, waiting for one that is about to."""
    try:
        process = psutil.Process(int(pid))
        process.wait(timeout=5)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE  # not yet reaped by whoever adopted it
    return True


def ask(start, name, **options):
    """Return a worker's answer to one batch."""
    with start(name, **options) as worker:
        worker.put(X)
        return worker.run()


def error_of(start, name, **options):
    """Return the message of a worker that fails when it is started, handed a batch, or run."""
    with pytest.raises(WorkerError) as caught:
        ask(start, name, **options)
    return str(caught.value)


def settings_of(start, name="reporting", **options):
    with start(name, **options) as worker:
        return worker.loaded["settings"]


# Answers


def test_worker_answers_every_batch_as_its_backend_does(start):
    with start("ok") as worker:
        for number in range(20):
            worker.put({"x": np.full((1, number + 1), number)})
            outputs = worker.run().outputs
            assert ["logits"] == list(outputs)
            assert [2 * number] * (number + 1) == outputs["logits"][0].tolist()


def test_block_calls_the_backend_as_often_as_asked(start):
    with start("counting") as worker:
        counts = []
        for loops in (1, 5, 10):
            worker.put(X)
            counts.append(int(worker.run(loops).outputs["calls"][0]))
    assert [1, 6, 16] == counts


def test_batch_larger_than_any_buffer_is_answered(start):
    large = {"x": np.random.default_rng(0).random((1000, 1000))}
    with start("ok") as worker:
        worker.put(large)
        np.testing.assert_array_equal(2 * large["x"], worker.run().outputs["logits"])


def test_outputs_may_be_scalar_or_empty(start):
    loss = ask(start, "in_run_answers_a_scalar").outputs["loss"]
    assert ((), 0.5) == (loss.shape, loss.item())
    assert {} == ask(start, "in_run_answers_nothing").outputs


@pytest.fixture
def reducing(loaders):
    """Return a kind that reduces outputs with the toy function of that name, hiding one input from the backend."""
    return lambda name: replace(image_classification, reduce_inputs=("hidden",), reduce=loaders[name])


def test_only_the_reduction_sees_hidden_inputs(start, reducing):
    with start("names_its_inputs", kind=reducing("add_hidden")) as worker:
        for hidden in (10, 20):
            worker.put({"x": np.ones((1, 2)), "hidden": np.full((1, 2), hidden)})
            outputs = worker.run(loops=3).outputs
            assert ({"x"}, {"x"}) == (set(outputs["run"]), set(outputs["compiled"]))
            assert [[hidden + 1] * 2] == outputs["x"].tolist()


def test_outputs_are_reduced_after_the_window(start, reducing):
    with start("names_its_inputs", kind=reducing("add_hidden")) as worker:
        worker.put({"x": np.ones((1, 2)), "hidden": np.ones((1, 2))})
        answer = worker.run()
    # Both are readings of one clock; the reduction takes 50 ms.
    assert answer.ended_ns + 50_000_000 <= answer.outputs["at"].item()


def test_failing_reduction_is_reported(start, reducing):
    assert "ArithmeticError: nothing to keep" in error_of(start, "ok", kind=reducing("gives_up"))


def test_kind_without_reduction_hides_nothing(start):
    with start("names_its_inputs", kind=image_classification) as worker:
        worker.put({"x": np.ones((1, 2)), "hidden": np.ones((1, 2))})
        assert ["hidden", "x"] == worker.run().outputs["run"].tolist()


def test_batches_of_rows_without_length_stay_whole(start):
    """The mask of texts that all pictures share is no mask of the pictures."""
    with start("names_its_inputs", kind=image_classification, batches_of=1) as worker:
        worker.put({"x": np.ones((3, 2)), "attention_mask": np.ones((2, 2))})
        assert 3 == len(worker.run().outputs["x"])


# Windows


def test_window_lies_between_question_and_answer(start):
    with start("ok") as worker:
        worker.put(X)
        asked = perf_counter_ns()
        answer = worker.run()
        answered = perf_counter_ns()
    assert asked < answer.began_ns < answer.ended_ns < answered


def test_answer_finished_later_is_sent_unfinished(start):
    assert [0, 0, 0] == ask(start, "in_run_answers_too_early").outputs["logits"].tolist()


def test_peak_memory_excludes_the_parents(start):
    ours = np.ones(30_000_000)  # 240 MB
    assert 1_000_000 < ask(start, "ok").peak_rss_bytes < ours.nbytes


@pytest.mark.parametrize(("name", "least", "most"), [("in_run_works", 50e6, 500e6), ("in_run_sleeps", 0, 25e6)])
def test_work_takes_cpu_time_and_sleep_takes_none(start, name, least, most):
    answer = ask(start, name)
    assert answer.elapsed_ns >= 49_000_000
    assert least <= answer.cpu_ns <= most
    assert answer.switches >= 0


def test_first_token_is_a_figure_and_no_output(start):
    answer = ask(start, "in_run_writes")
    assert ["sequences"] == list(answer.outputs)
    assert 19_000_000 <= answer.first_token_ns <= answer.elapsed_ns - 19_000_000
    assert 0 == ask(start, "in_run_sleeps").first_token_ns


@pytest.mark.parametrize("name", ["clock_that_stops", "clock_that_steps", "clock_before_time"])
def test_clock_that_does_not_advance_is_refused(start, name):
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


def test_backend_compiles_once_before_the_first_window(start):
    with start("compiles") as worker:
        assert 0 == worker.compile_ns
        worker.put(X)
        compile_ns = worker.compile_ns
        first = worker.run()
        worker.put({"x": np.zeros((4, 4))})
        shapes = worker.run().outputs["shapes"]
    assert 50_000_000 <= compile_ns == worker.compile_ns < 1_000_000_000
    assert first.elapsed_ns < 50_000_000
    assert [[2, 3]] == shapes.tolist()


def test_backend_without_compile_phase_spends_no_time_in_it(start):
    with start("ok") as worker:
        worker.put(X)
        assert 0 == worker.compile_ns


def test_failing_compile_phase_is_reported(start):
    assert error_of(start, "fails_to_compile").startswith("fails_to_compile: ArithmeticError: no such kernel\n")


def test_loaded_worker_reports_device_target_and_imports(start, tmp_path):
    with start("ok", threads=2) as worker:
        loaded = worker.loaded
        assert str(worker.pid) == loaded["settings"]["pid"]
    assert loaded["load_ns"] > 0
    assert "cpu" == loaded["device"]
    assert (str(tmp_path), "") == (loaded["settings"]["artifact"], loaded["settings"]["imported"])
    assert Target("cpu", 2) == Target(*json.loads(loaded["settings"]["target"]))


# Options and environment


def test_chosen_options_reach_the_backend_and_the_record(start):
    with start("ok", threads=2, choices={"arena": (True, False)}, options={"threads": 1, "arena": False}) as worker:
        settings = worker.loaded["settings"]
    assert ["cpu", 1, False, {"arena": False, "threads": 1}] == json.loads(settings["target"])
    assert "arena=off, threads=1" == settings["options"]


def test_chosen_threads_and_spinning_shape_the_environment(start):
    environ = json.loads(settings_of(start, threads=4, options={"threads": 2, "spinning": True})["environ"])
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    assert ["2", "2", None] == [environ.get(name) for name in names]


def idle_cpu_s(worker, seconds=0.3):
    """Return the CPU time that a worker uses while it is not asked anything."""
    process = psutil.Process(worker.pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


def test_worker_is_suspended_while_others_answer(start):
    waits = {"spinning": True}
    with start("never_rests", alone=False, options=waits) as suspended, start("never_rests", alone=False) as restless:
        assert idle_cpu_s(suspended) <= 0.02  # before it is asked anything
        for worker in (suspended, restless):
            worker.put(X)
            worker.run()
        assert idle_cpu_s(restless) > 0.05
        assert idle_cpu_s(suspended) <= 0.02  # ticks are of 10 ms
        suspended.put(X)
        assert (2 * X["x"]).tolist() == suspended.run().outputs["logits"].tolist()


def test_worker_that_cannot_be_suspended_is_refused(start, monkeypatch):
    monkeypatch.setattr(client, "SUSPEND_S", 0.1)
    monkeypatch.setattr(
        Worker, "_signal_group", lambda worker, number: number == signal.SIGKILL and worker._process.kill()
    )
    with pytest.raises(WorkerError, match=r"does not suspend the worker, which is \w+, .* run with --ship-wait sleep"):
        start("ok", alone=False, options={"spinning": True})


def test_death_of_a_suspended_worker_is_reported(start):
    with start("never_rests", alone=False, options={"spinning": True}) as worker:
        worker.put(X)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="killed by SIGKILL"):
            worker.run()


def test_environment_is_the_allow_list(start, monkeypatch):
    monkeypatch.setenv("TOY_SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere.py")
    monkeypatch.setenv("HF_HOME", "/toy/cache")
    environ = json.loads(settings_of(start)["environ"])
    environ.pop("LC_CTYPE", None)  # Python sets it itself where the locale is C
    assert worker_environment(1) == environ
    assert ("/toy/cache", "passive") == (environ["HF_HOME"], environ["OMP_WAIT_POLICY"])
    allowed = {"PYTHONPATH", "PYTHONHASHSEED", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"}
    allowed |= {"TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "NVIDIA_TF32_OVERRIDE", "CUDA_DEVICE_ORDER"}
    assert set(environ) <= {*INHERITED, *allowed}
    monkeypatch.delenv("HF_HOME")
    assert "HF_HOME" not in worker_environment(1)


@pytest.mark.parametrize(("threads", "spinning", "policy"), [(1, False, "passive"), (3, True, None)])
def test_threads_and_wait_policy_are_set_for_every_library(threads, spinning, policy):
    environ = worker_environment(threads, spinning)
    assert (str(threads), str(threads)) == (environ["OMP_NUM_THREADS"], environ["MKL_NUM_THREADS"])
    assert policy == environ.get("OMP_WAIT_POLICY")


def test_worker_imports_no_library_but_numpy(start):
    modules = set(json.loads(settings_of(start)["modules"]))
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    libraries = {line.split("=")[0].split(">")[0].strip().replace("-", "_") for line in lines} - {"numpy"}
    libraries |= {"sklearn", "cpuinfo", "pytest", "_pytest", "hypothesis"}
    assert {"torch", "transformers", "pandas", "onnxruntime", "filelock"} <= libraries
    assert {"numpy", "harness.measure.protocol"} <= modules
    assert set() == libraries & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("name", ["numpy.py", "harness.py", "socket.py"])
def test_worker_ignores_modules_in_the_working_folder(start, tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("raise ImportError('a file of the user that happens to have this name')")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(2 * X["x"], ask(start, "ok").outputs["logits"])


# Failures


@pytest.mark.parametrize(
    ("name", "problem", "line"),
    [
        ("fails_to_load", "ValueError: no weights here", 'raise ValueError("no weights here")'),
        ("in_run_raises", "ArithmeticError: a kernel gave up", 'raise ArithmeticError("a kernel gave up")'),
    ],
)
def test_error_is_reported_with_its_traceback(start, name, problem, line):
    message = error_of(start, name)
    assert message.startswith(f"{name}: {problem}\n")
    assert f"  |     {line}" in message
    assert message.endswith(f"\n  | {problem}")


def test_refusal_to_load_is_unsupported_and_a_worker_error(start):
    with pytest.raises(Unsupported, match=r"^it has no such operator$") as caught:
        start("refuses")
    assert isinstance(caught.value, WorkerError)


@pytest.mark.parametrize(
    ("name", "death"),
    [
        ("in_run_is_killed", "was killed by SIGKILL\n  | last words"),
        ("in_run_crashes", "was killed by SIGSEGV"),
        ("talks_and_dies", "was killed by SIGKILL" + "".join(f"\n  | line {number}" for number in range(12, 20))),
        ("exits", "ended with exit status 3"),
        ("in_run_leaves_quietly", "ended with exit status 0"),
    ],
)
def test_death_is_reported_with_its_cause_and_the_last_lines(start, name, death):
    assert f"{name}: the worker {death}" == error_of(start, name)


def test_worker_that_hangs_while_loading_is_ended(start):
    message = error_of(start, "hangs_in_load", timeout_s=3)
    assert "hangs_in_load: the worker gave no answer within 3 s\n  | about to hang" == message


def test_worker_that_hangs_while_running_is_ended(start):
    with start("in_run_hangs", timeout_s=3) as worker:
        worker.put(X)
        with pytest.raises(WorkerError) as caught:
            worker.run()
        assert is_gone(worker.pid)
    assert "in_run_hangs: the worker gave no answer within 3 s\n  | about to hang" == str(caught.value)


def test_runtime_on_another_device_is_refused(start):
    message = error_of(start, "wrong_device")
    assert message.startswith("wrong_device: RuntimeError: asked for cpu, the runtime runs on cuda (")
    assert "CUDAExecutionProvider" in message.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("answers_lists", "TypeError: output logits is list; return numpy arrays\n"),
        ("answers_a_lazy_array", "TypeError: output logits is Lazy; return numpy arrays\n"),
        ("answers_a_tuple", "TypeError: the answer is tuple; return a dict of numpy arrays\n"),
        ("answers_objects", "TypeError: logits holds Python objects; "),
    ],
)
def test_outputs_other_than_plain_arrays_are_refused(start, name, problem):
    assert error_of(start, f"in_run_{name}").startswith(f"in_run_{name}: {problem}")


def test_death_before_a_batch_is_reported_at_the_batch(start):
    with start("ok") as worker:
        os.kill(worker.pid, signal.SIGTERM)
        with pytest.raises(WorkerError, match="ok: the worker was killed by SIGTERM"):
            worker.put(X)


def test_worker_that_closes_its_pipe_and_stays_is_ended(start, tmp_path):
    assert error_of(start, "shuts_the_pipe").startswith("shuts_the_pipe: the worker ")
    assert not (tmp_path / "outlived.txt").exists()


def test_function_that_no_worker_can_import_starts_none(tmp_path):
    before = psutil.Process().children()
    backend = Backend(name="inner", load=lambda artifact, target: None)
    with pytest.raises(HarnessError, match=r"module level") as caught:
        Worker(backend, tmp_path, Target("cpu", 1), 60)
    assert before == psutil.Process().children(), caught  # the error holds on to what it was raised from


# Processes left behind


def test_leaving_ends_the_worker(start):
    with start("ok") as worker:
        assert psutil.pid_exists(worker.pid)
    assert is_gone(worker.pid)
    worker.close()  # again, to no effect


def test_interrupt_of_the_parent_ends_the_worker(start):
    with pytest.raises(KeyboardInterrupt), start("ok") as worker:
        raise KeyboardInterrupt
    assert is_gone(worker.pid)


def test_child_of_a_worker_ends_with_it(start):
    with start("parent_of_another") as worker:
        child = worker.loaded["settings"]["child"]
        assert psutil.pid_exists(int(child))
    assert is_gone(child)


def test_child_of_a_worker_that_died_first_ends(start, tmp_path):
    error_of(start, "parent_that_dies")
    child = int((tmp_path / "child.txt").read_text())
    try:
        assert is_gone(child)
    finally:
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)


def test_worker_ends_when_its_parent_is_killed(loaders):
    program = textwrap.dedent(
        f"""
        import os, runpy, signal
        from pathlib import Path
        from harness.contracts.backend import Backend, Target
        from harness.measure.client import Worker
        load = runpy.run_path({loaders["__file__"]!r})["ok"]
        worker = Worker(Backend(name="ok", load=load), Path("."), Target("cpu", 1), 60)
        print(worker.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=HERE, check=False)
    assert -signal.SIGKILL == done.returncode, done.stderr
    assert is_gone(done.stdout)

"""Laws of counting imports: nested ones once, threads together, and everything as it was afterwards."""

import builtins
import importlib
import sys
import threading
from itertools import count

import pytest

from harness.workers.phases import imports


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Writes modules of this test's own, forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = []

    def write(**bodies):
        for name, body in bodies.items():
            (tmp_path / f"{name}.py").write_text(body)
            ours.append(name)
        importlib.invalidate_caches()

    yield write
    for name in ours:
        sys.modules.pop(name, None)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until somebody spends time: modules do so by `builtins.spend(ns)`."""
    now = [100]
    monkeypatch.setattr(builtins, "spend", lambda ns: now.__setitem__(0, now[0] + ns), raising=False)
    return lambda: now[0]


def test_an_import_counts_and_the_rest_does_not(modules, clock):
    modules(toy_a="spend(5)")
    with imports(clock) as found:
        builtins.spend(1000)
        import toy_a  # noqa: F401

        builtins.spend(1000)
    assert 5 == found.ns


def test_nested_imports_count_once(modules, clock):
    modules(
        toy_outer="spend(1); import toy_middle; spend(2)",
        toy_middle="spend(10); import toy_inner",
        toy_inner="spend(100)",
    )
    with imports(clock) as found:
        import toy_outer  # noqa: F401
    assert 113 == found.ns


def test_imports_one_after_the_other_add_up(modules, clock):
    modules(toy_a="spend(5)", toy_b="spend(7)")
    with imports(clock) as found:
        import toy_a  # noqa: F401
        import toy_b  # noqa: F401
    assert 12 == found.ns


def test_an_import_of_what_is_there_costs_nothing(modules, clock):
    modules(toy_a="spend(5)")
    import toy_a

    with imports(clock) as found:
        import toy_a  # noqa: F401
    assert 0 == found.ns


def test_a_lazy_librarys_imports_count(modules, clock):
    lazy = "import importlib\ndef __getattr__(name):\n    spend(1000)\n    return importlib.import_module('toy_heavy')"
    modules(toy_lazy=lazy, toy_heavy="spend(3); import toy_part", toy_part="spend(4)")
    with imports(clock) as found:
        import toy_lazy

        assert "toy_heavy" == toy_lazy.anything.__name__
    assert 7 == found.ns


def test_a_failed_import_counts_and_fails_as_ever(modules, clock):
    modules(toy_broken="spend(5)\nraise RuntimeError('no such kernel')", toy_fine="spend(6)")
    with imports(clock) as found:
        with pytest.raises(RuntimeError, match="no such kernel"):
            import toy_broken  # noqa: F401
        with pytest.raises(ModuleNotFoundError):
            import toy_absent  # noqa: F401
        import toy_fine  # noqa: F401
    assert 11 == found.ns


def test_importing_is_as_it_was_afterwards_even_after_an_error(clock):
    before = builtins.__import__, importlib.import_module

    def fail():
        with imports(clock):
            assert before[0] is not builtins.__import__
            raise ValueError("no weights here")

    with pytest.raises(ValueError, match="no weights here"):
        fail()
    assert (builtins.__import__, importlib.import_module) == before


def test_a_wrapper_that_the_library_put_there_stays(clock, monkeypatch):
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)  # restored after the test
    with imports(clock):
        inner = builtins.__import__

        def theirs(*args, **kwargs):
            return inner(*args, **kwargs)

        builtins.__import__ = theirs
    assert theirs is builtins.__import__
    import json

    assert "json" == json.__name__


def test_what_a_library_kept_of_us_counts_no_more(modules, clock):
    modules(toy_a="spend(5)", toy_b="spend(7)")
    with imports(clock) as found:
        kept = importlib.import_module
        kept("toy_a")
    assert "toy_b" == kept("toy_b").__name__
    assert 5 == found.ns


def test_two_threads_that_import_at_once_count_as_one(modules):
    modules(toy_a="meet()", toy_b="meet()")
    ticks = count()
    barrier = threading.Barrier(2, timeout=10)
    builtins.meet = barrier.wait
    try:
        with imports(lambda: next(ticks)) as found:
            threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in ("toy_a", "toy_b")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        del builtins.meet
    # The clock was read at the first beginning and the last end only.
    assert (1, 2) == (found.ns, next(ticks))


def test_a_thread_that_is_still_importing_counts_up_to_the_end(modules, clock):
    begun, go_on = threading.Event(), threading.Event()
    modules(toy_slow="spend(5); pause(); spend(1000)")
    builtins.pause = lambda: (begun.set(), go_on.wait(10))
    try:
        with imports(clock) as found:
            thread = threading.Thread(target=importlib.import_module, args=("toy_slow",))
            thread.start()
            assert begun.wait(10)
        go_on.set()
        thread.join()
    finally:
        del builtins.pause
    assert 5 == found.ns

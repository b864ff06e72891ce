"""One backend in its own process, `python -m harness.measure.worker FD`: the only module that times answers.

It needs the standard library and numpy; the backend's `imports` and `load` import the rest.
"""

from __future__ import annotations

import gc
import importlib
import resource
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

import numpy as np

from harness.contracts.backend import Session, Target, format_options
from harness.contracts.kind import Arrays
from harness.environments.bootstrap import installed_packages
from harness.errors import Unsupported, describe_error
from harness.measure import protocol
from harness.measure.adapters import with_length_sorting, with_preprocessing, with_reduction, with_shared_arrays
from harness.measure.lifeline import end_with_parent
from harness.util.decoding import FIRST_NS
from harness.util.identity import load_symbol

STATUS = Path("/proc/self/status")
"""Linux's account of this process's memory."""
OWN_MEMORY = ("RssAnon", "RssShmem", "VmSwap")
"""Fields of memory that belongs to this process alone; mapped files, such as weights and libraries, come and go."""


def main(fd: int) -> None:
    """Serve frames on socket `fd` until the parent closes it."""
    end_with_parent()
    with socket.socket(fileno=fd) as sock:
        try:
            session = _load(sock)
            _serve(sock, session)
            prepared = session._replace(compile=None)
            while True:
                _serve(sock, prepared)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except Unsupported as refusal:
            protocol.send(sock, {"error": str(refusal), "unsupported": True})
        except Exception as error:  # the parent decides what an error of the backend means
            traceback.print_exc()
            protocol.send(sock, {"error": describe_error(error)})


def _load(sock: socket.socket) -> Session:
    """Receive the order, load the backend and report how long that took and what it runs on."""
    order, _ = protocol.receive(sock)
    target = Target(order["device"], order["threads"], order["spinning"], order["options"])
    began_ns = perf_counter_ns()
    for name in order["imports"]:
        importlib.import_module(name)
    imported_ns = perf_counter_ns()
    load = load_symbol(order["file"], order["qualname"], order["module"])
    session: Session = load(Path(order["artifact"]), target)
    if not isinstance(session, Session):
        raise TypeError(f"load returned {type(session).__name__}; return a harness.Session")
    session = with_shared_arrays(session, order["shared"])
    if order["batches_of"] is not None:
        session = with_length_sorting(session, order["batches_of"])
    if order["reduction"] is not None:
        session = with_reduction(session, order["reduction"])
    if order["preprocessing"] is not None:
        session = with_preprocessing(session, order["preprocessing"])
    loaded_ns = perf_counter_ns()
    if session.device != target.device:
        raise RuntimeError(f"asked for {target.device}, the runtime runs on {session.device} ({session.settings})")
    heavy = sorted({"torch", "transformers", "onnxruntime"} & set(sys.modules))
    settings = {name: str(value) for name, value in session.settings.items()} | {"imported": ",".join(heavy)}
    settings |= {"options": format_options(target.options)} if target.options else {}
    settings |= installed_packages() if order["elsewhere"] else {}  # the result itself records pytest's environment
    phases = {"import_ns": imported_ns - began_ns, "load_ns": loaded_ns - imported_ns}
    protocol.send(sock, {**phases, "device": session.device, "settings": settings})
    return session


def _serve(sock: socket.socket, session: Session) -> None:
    """Receive one batch and answer it `loops` times inside one window, or `parts` x `calls` times while memory is read.

    A window runs from host arrays to host arrays.
    """
    _, arrays = protocol.receive(sock)
    began_ns = perf_counter_ns()
    if session.compile is not None:
        session.compile(arrays)
    compile_ns = perf_counter_ns() - began_ns if session.compile is not None else 0
    # Acknowledged before the clock starts, so that no worker is timed while another one still reads its batch.
    protocol.send(sock, {"compile_ns": compile_ns})
    order, _ = protocol.receive(sock)
    if "parts" in order:
        held = _held_between(lambda: session.run(arrays), order["parts"], order["calls"])
        protocol.send(sock, {"held_bytes": held})
    else:
        header, outputs = _timed(session, arrays, order["loops"])
        protocol.send(sock, {**header, "peak_rss_bytes": peak_rss_bytes()}, outputs)


def _timed(session: Session, arrays: Arrays, loops: int) -> tuple[dict[str, Any], Arrays]:
    """Time one window; return its figures and the outputs as they were when it closed."""
    usage, cpu_ns = resource.getrusage(resource.RUSAGE_SELF), process_time_ns()
    began_ns = perf_counter_ns()
    for _ in range(loops):
        call_ns = perf_counter_ns()
        outputs = session.run(arrays)
    ended_ns = perf_counter_ns()
    header = {
        "began_ns": began_ns,
        "ended_ns": ended_ns,
        "cpu_ns": process_time_ns() - cpu_ns,
        "switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - usage.ru_nivcsw,
    }
    _check(outputs)
    first_ns = outputs.pop(FIRST_NS, None)
    header["first_token_ns"] = 0 if first_ns is None else int(first_ns.max()) - call_ns
    kept = session.keep(outputs) if session.keep else outputs
    # Copied, so that an answer still being written is sent unfinished; after `keep`, which may leave little to copy.
    return header, {name: np.array(array, order="C") for name, array in kept.items()}


def _check(outputs: Arrays) -> None:
    """Raise TypeError for outputs that could compute later."""
    if type(outputs) is not dict:
        raise TypeError(f"the answer is {type(outputs).__name__}; return a dict of numpy arrays")
    for name, array in outputs.items():
        if type(name) is not str:
            raise TypeError(f"an output is named {name!r}; use strings as names")
        if type(array) is not np.ndarray:
            raise TypeError(f"output {name} is {type(array).__name__}; return numpy arrays")


def peak_rss_bytes() -> int:
    """Return the largest resident set of this process."""
    if (peak := _memory().get("VmHWM")) is not None:
        return peak  # on Linux `ru_maxrss` may be the parent's: exec hands it down
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def held_bytes() -> int | None:
    """Return this process's own memory, swapped out or not; None if the system does not report it."""
    memory = _memory()
    return sum(memory[name] for name in OWN_MEMORY) if memory.keys() >= set(OWN_MEMORY) else None


def _memory() -> dict[str, int]:
    """Return the fields of STATUS that are sizes, in bytes."""
    lines = [line.split() for line in STATUS.read_text().splitlines()] if STATUS.exists() else []
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words and words[-1] == "kB"}


def _held_between(call: Callable[[], object], parts: int, calls: int) -> list[int]:
    """Return the bytes held before and after each of `parts` of `calls` calls; none if the system does not report them.

    Garbage is collected before each reading: memory that waits for collection has not leaked.
    """
    if held_bytes() is None:
        return []
    held = []
    gc.freeze()  # objects from before need no scan each time; with Transformers one takes a second
    for part in range(parts + 1):
        for _ in range(calls if part else 0):
            call()
        gc.collect()
        held.append(held_bytes() or 0)
    gc.unfreeze()
    gc.collect()  # everything once, now; otherwise the collector does it soon, inside a timed round
    return held


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""What memory this process holds, as the system counts it. Workers import it: the standard library alone.

ALSO: One backend in its own process: `python -m harness.measure.worker FD`. The only module that times answers.

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

from harness.contracts.backend import Session, Target, options_text
from harness.contracts.kind import Arrays
from harness.environments.installed import installed_packages
from harness.errors import Unsupported, named
from harness.measure import protocol
from harness.measure.adapters import with_length_sorting, with_preprocessing, with_reduction
from harness.measure.lifeline import end_with_parent
from harness.util.symbols import load_symbol

STATUS = Path("/proc/self/status")

OWN = ("RssAnon", "RssShmem", "VmSwap")
"""What belongs to nobody else: files that are mapped, weights and libraries, come and go as the system likes."""


def peak_rss_bytes() -> int:
    """Largest resident set of this process.

    Not `ru_maxrss` on Linux: exec hands that down from the parent.
    """
    if STATUS.exists():
        return _bytes(_status()["VmHWM"])
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def held_bytes() -> int | None:
    """Memory of this process's own, swapped out or not; None where the system does not tell."""
    found = _status() if STATUS.exists() else {}
    return sum(_bytes(found[name]) for name in OWN) if found.keys() >= set(OWN) else None


def held_between(call: Callable[[], object], parts: int, calls: int) -> list[int]:
    """What is held before and after each of so many parts of so many calls; nothing where the system does not tell.

    Garbage is collected before it is looked: what waits for that is no leak.
    """
    if held_bytes() is None:
        return []
    gc.freeze()  # what was there before needs no looking through every time, for a second with Transformers
    held = [_kept()]
    for _ in range(parts):
        for _ in range(calls):
            call()
        held.append(_kept())
    gc.unfreeze()
    gc.collect()  # all of it once, now: else the collector does that soon, in a timed round
    return held


def _kept() -> int:
    gc.collect()
    return held_bytes() or 0


def _status() -> dict[str, str]:
    return dict(line.split(":", 1) for line in STATUS.read_text().splitlines())


def _bytes(field: str) -> int:
    return int(field.split()[0]) * 1024


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
            protocol.send(sock, {"error": named(error)})


def _load(sock: socket.socket) -> Session:
    order, _ = protocol.receive(sock)
    target = Target(order["device"], order["threads"], order["spinning"], order["options"])
    began_ns = perf_counter_ns()
    for name in order["imports"]:
        importlib.import_module(name)
    imported_ns = perf_counter_ns()
    load = load_symbol(order["file"], order["qualname"], order["module"])
    session: Session = load(Path(order["artifact"]), target)
    if not isinstance(session, Session):
        raise TypeError(f"load returned {type(session).__name__}; it returns a harness.Session")
    if "batches_of" in order:
        session = with_length_sorting(session, order["batches_of"])
    if "reduction" in order:
        session = with_reduction(session, order["reduction"])
    if "front" in order:
        session = with_preprocessing(session, order["front"])
    loaded_ns = perf_counter_ns()
    if session.device != target.device:
        raise RuntimeError(f"asked for {target.device}, the runtime runs on {session.device} ({session.settings})")
    heavy = sorted({"torch", "transformers", "onnxruntime"} & set(sys.modules))
    settings = {name: str(value) for name, value in session.settings.items()} | {"imported": ",".join(heavy)}
    settings |= {"options": options_text(target.options)} if target.options else {}
    protocol.send(
        sock,
        {
            "import_ns": imported_ns - began_ns,
            "load_ns": loaded_ns - imported_ns,
            "device": session.device,
            # Of the environment that pytest runs in, the result tells itself.
            "settings": settings | (installed_packages() if order["elsewhere"] else {}),
        },
    )
    return session


def _serve(sock: socket.socket, session: Session) -> None:
    """Answer one batch `loops` times in a row inside one window, from host arrays to host arrays; or so many times in
    each of so many parts, and say what memory is held between them."""
    _, arrays = protocol.receive(sock)
    # Said before the clock starts, so that nobody is timed while another worker still reads its batch.
    protocol.send(sock, {"compile_ns": _compile(session, arrays)})
    order, _ = protocol.receive(sock)
    if "parts" in order:
        held = held_between(lambda: session.run(arrays), order["parts"], order["calls"])
        protocol.send(sock, {"held_bytes": held})
        return
    header, outputs = _timed(session, arrays, order["loops"])
    protocol.send(sock, {**header, "peak_rss_bytes": peak_rss_bytes()}, outputs)


def _compile(session: Session, arrays: Arrays) -> int:
    """Prepare for this batch; nanoseconds, 0 where there is nothing to prepare."""
    if session.compile is None:
        return 0
    began = perf_counter_ns()
    session.compile(arrays)
    return perf_counter_ns() - began


def _timed(session: Session, arrays: Arrays, loops: int) -> tuple[dict[str, Any], Arrays]:
    """One window, and the outputs as they were when it closed."""
    switches, cpu_ns = _switches(), process_time_ns()
    began = perf_counter_ns()
    for _ in range(loops):
        outputs = session.run(arrays)
    ended = perf_counter_ns()
    header = {
        "began_ns": began,
        "ended_ns": ended,
        "cpu_ns": process_time_ns() - cpu_ns,
        "switches": _switches() - switches,
    }
    _check(outputs)
    kept = session.keep(outputs) if session.keep else outputs
    # Copies, so that an answer still being written is sent unfinished; of what is kept alone, which may be little.
    return header, {name: np.array(array, order="C") for name, array in kept.items()}


def _switches() -> int:
    """How often this process was put off a CPU that it still wanted, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _check(outputs: Arrays) -> None:
    """TypeError for what could compute later."""
    if type(outputs) is not dict:
        raise TypeError(f"the answer is {type(outputs).__name__}; a backend answers with a dict of host arrays")
    for name, array in outputs.items():
        if type(name) is not str:
            raise TypeError(f"an output is named {name!r}; names are words")
        if type(array) is not np.ndarray:
            raise TypeError(f"output {name} is {type(array).__name__}; a backend answers with host arrays")


if __name__ == "__main__":
    main(int(sys.argv[1]))

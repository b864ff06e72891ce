"""One backend in its own process: `python -m harness.workers.worker FD`. The only module that times answers.

It needs the standard library and numpy; whatever else is imported, the backend's `load` imports.
"""

from __future__ import annotations

import resource
import socket
import sys
import traceback
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

import numpy as np

from harness.contracts import Arrays, Session, Target
from harness.errors import Unsupported, named
from harness.loading import load_symbol
from harness.pythons.installed import installed
from harness.tuning.tuned import words
from harness.workers import wire
from harness.workers.front import fronted
from harness.workers.lifeline import end_with_parent
from harness.workers.memory import held_between, peak_rss_bytes
from harness.workers.padding import sorted_by_length
from harness.workers.phases import imports
from harness.workers.reduction import reduced


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
            wire.send(sock, {"error": str(refusal), "unsupported": True})
        except Exception as error:  # the parent decides what an error of the backend means
            traceback.print_exc()
            wire.send(sock, {"error": named(error)})


def _load(sock: socket.socket) -> Session:
    order, _ = wire.receive(sock)
    target = Target(order["device"], order["threads"], order["spinning"], order["options"])
    began = perf_counter_ns()
    with imports(perf_counter_ns) as imported:
        load = load_symbol(order["file"], order["qualname"], order["module"])
        session: Session = load(Path(order["artifact"]), target)
        if not isinstance(session, Session):
            raise TypeError(f"load returned {type(session).__name__}; it returns a harness.Session")
        if "batches_of" in order:
            session = sorted_by_length(session, order["batches_of"])
        if "reduction" in order:
            session = reduced(session, order["reduction"])
        if "front" in order:
            session = fronted(session, order["front"])
    spent_ns = perf_counter_ns() - began
    if session.device != target.device:
        raise RuntimeError(f"asked for {target.device}, the runtime runs on {session.device} ({session.settings})")
    heavy = sorted({"torch", "transformers", "onnxruntime"} & set(sys.modules))
    settings = {name: str(value) for name, value in session.settings.items()} | {"imported": ",".join(heavy)}
    settings |= {"options": words(target.options)} if target.options else {}
    wire.send(
        sock,
        {
            "import_ns": imported.ns,
            "load_ns": spent_ns - imported.ns,
            "device": session.device,
            # Of the environment that pytest runs in, the result tells itself.
            "settings": settings | (installed() if order["elsewhere"] else {}),
        },
    )
    return session


def _serve(sock: socket.socket, session: Session) -> None:
    """Answer one batch `loops` times in a row inside one window, from host arrays to host arrays; or so many times in
    each of so many parts, and say what memory is held between them."""
    _, arrays = wire.receive(sock)
    # Said before the clock starts, so that nobody is timed while another worker still reads its batch.
    wire.send(sock, {"compile_ns": _compile(session, arrays)})
    order, _ = wire.receive(sock)
    if "parts" in order:
        held = held_between(lambda: session.run(arrays), order["parts"], order["calls"])
        wire.send(sock, {"held_bytes": held})
        return
    header, outputs = _timed(session, arrays, order["loops"])
    wire.send(sock, {**header, "peak_rss_bytes": peak_rss_bytes()}, outputs)


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

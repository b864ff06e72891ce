"""Processes that end with their parent. Standard library only.

As a script, `lifeline.py MODULE ARGUMENTS` runs a module of the interpreter, such as pip, in this way.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import select
import signal
import sys


def end_with_parent() -> None:
    """Have the system kill this process's group when standard input closes: the parent holds its other end.

    The parent starts this process in a session of its own, with a pipe for standard input that it never writes to.
    The worker's socket would show a dead parent only between two calls of a backend, and would not end what the backend
    started. Linux needs no thread for it, nor PR_SET_PDEATHSIG, which spares children; elsewhere the socket has to do.
    """
    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if sys.platform == "linux" and os.getpgrp() == os.getpid():
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # it closed before the signal was set up
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""A process that ends with its parent. Standard library only.

As a script, `lifeline.py MODULE ARGUMENTS`, it runs a module of the interpreter's own so, pip for instance.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import select
import signal
import sys


def end_with_parent() -> None:
    """Let the system kill this process's group when standard input ends: the parent holds its other end.

    The parent starts it in a session of its own, with a pipe for standard input that is never written to. The end of a
    worker's socket would be seen only between two calls of a backend, and never by what that started. Linux
    can do without a thread here, and without PR_SET_PDEATHSIG, which spares children; elsewhere the socket has to do.
    """
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "linux" and os.getpgrp() == os.getpid():
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # it ended before anybody was told to watch
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""A process that is killed in the midst of writing a file."""

import os
import resource
import signal
from collections.abc import Callable

LIMIT = 4096


def killed_while(writing: Callable[[], object]) -> None:
    """Write in a process that the system kills as soon as a file grows beyond `LIMIT` bytes."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
            writing()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ

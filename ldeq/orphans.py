"""Processes that end when the one that they work for does, however it ends."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

#: Of Linux's prctl: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
#: Seconds between looks at who the parent is.
_PAUSE = 1.0


def end_with_parent() -> None:
    """Ends this process as soon as its parent has ended, whatever it is doing: a worker calls this first.

    The parent may be killed, by a user or where memory is full, with no time to tell anybody. A worker that writes to a
    pipe which it shares with its siblings would then wait for good.
    """
    threading.Thread(target=_end_after_parent, args=(os.getppid(),), daemon=True).start()
    # Linux does it even where no thread has its turn: the process is stopped, or in a library that never lets go. It
    # goes by what forked the process, though: a thread that may end earlier, or multiprocessing's server that may not
    # end before its children.
    if sys.platform.startswith("linux") and threading.main_thread().name == "MainThread":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_after_parent(parent_id: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # By what the system closes when it ends, which leaves no moment in which its end could be missed.
        parent.join()
    else:
        while os.getppid() == parent_id:
            time.sleep(_PAUSE)
    os._exit(1)

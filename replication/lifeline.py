"""What every process started here is given: an end with its starter, and settings of its own.

    python -m replication.lifeline MODULE [ARGUMENT ...]    # run a module, held before its imports

A starter names itself in the environment (`environment` below; the Makefile names make). Who is
started holds on to it when this module is imported, so import it first. On Linux the kernel then
ends the process the moment its starter ends, whatever it is busy with; elsewhere a thread looks
twice a second. Standard library only, no syntax beyond Python 3.6: scripts/bootstrap.py imports it.
"""

import os
import runpy
import signal
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARENT = "DIPVAE_PARENT"  # the starter's process id, in the environment of those it starts
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def hold():
    """End this process with the starter that the environment names; once only, and if one is named.

    The name is taken out of the environment: whoever this process starts has another starter.
    """
    parent = os.environ.pop(PARENT, "")
    if not parent.isdecimal():
        return
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()
    if os.getppid() != int(parent):  # it ended before we could hold on to it
        os._exit(1)


def _watch(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def environment(**more):
    """The environment for a process that we start: held to this one, with settings of its own.

    What matplotlib, IPython and Jupyter keep lies in runs/.settings: a home folder that cannot be
    written to, or holds a style of the user's, changes no page.
    """
    own = os.path.join(ROOT, "runs", ".settings")
    os.makedirs(own, exist_ok=True)
    paths = [ROOT] + os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = dict(MPLCONFIGDIR="matplotlib", IPYTHONDIR="ipython", JUPYTER_RUNTIME_DIR="jupyter")
    more.update({name: os.path.join(own, folder) for name, folder in folders.items()})
    more["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    more[PARENT] = str(os.getpid())
    return dict(os.environ, PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8", **more)


hold()
# Let a terminal that cannot show a character show a question mark; no work is lost for it.
for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):  # Python 3.7; absent too where a stream is captured
        stream.reconfigure(errors="replace")

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""End a process once the one that started it is gone, so that a killed `make replicate` leaves nothing running."""

import os
import threading
import time

PARENT = "DIPVAE_PARENT"  # the starter's process id, in the environment of those it starts


def hold() -> None:
    """Watch the starter named in the environment, if any, and end this process within a second of its end."""
    parent = os.environ.get(PARENT)
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

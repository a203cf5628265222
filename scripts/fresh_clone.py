"""Do as a new user would: clone the last commit into an empty folder and run README's two commands, with a clock.

.venv/bin/python scripts/fresh_clone.py       # about 40 minutes on two cores; writes results/minutes.json
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # where the project is not installed

from replication.machine import processor  # noqa: E402
from replication.results import write_json  # noqa: E402

COMMANDS = {
    "make replicate": "sets up `.venv`, draws the data, trains and scores every run, writes tables and figures",
    "make test": "all tests, every notebook included (after `make replicate`, so without the set-up)",
}


def main() -> int:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "minutes.json"
    folder = Path(tempfile.mkdtemp(prefix="fresh-clone-"))
    environment = {
        k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")
    } | {"PIP_NO_CACHE_DIR": "1"}
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
        commands = {}
        for command, what in COMMANDS.items():
            print(f"\n$ {command}", flush=True)
            began = time.perf_counter()
            subprocess.run(command.split(), cwd=folder / "clone", env=environment, check=True)
            if command == "make replicate":
                profile = next((folder / "clone" / "runs").iterdir()).name
            commands[command] = {
                "minutes": round((time.perf_counter() - began) / 60, 1),
                "what": what,
            }
            print(f"{command}: {commands[command]['minutes']} minutes", flush=True)
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
        facts = {
            "commands": commands,
            "profile": profile,
            "cores": os.cpu_count(),
            "processor": processor(),
            "commit": commit,
        }
        write_json(out, facts)
    except subprocess.CalledProcessError as error:
        print(
            f"error: `{' '.join(error.cmd)}` failed in a fresh clone, exit status {error.returncode}",
            file=sys.stderr,
        )
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

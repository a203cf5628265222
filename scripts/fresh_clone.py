"""Do as a new user would: clone the last commit and run README's two commands, with a clock.

.venv/bin/python scripts/fresh_clone.py    # 40 minutes on two cores; writes results/minutes.json
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # where the project is not installed

from replication.machine import processor  # noqa: E402
from replication.results import read_json, write_json  # noqa: E402

COMMANDS = {
    "make replicate": "set-up, data, training, scores, tables, figures",
    "make test": "all tests, every notebook included (set-up done)",
}


def main() -> int:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "minutes.json"
    environment, commands = dict(os.environ, PIP_NO_CACHE_DIR="1"), {}
    made: list[Path] = []  # results of `make replicate`
    for mine in ("VIRTUAL_ENV", "PYTHONPATH"):
        environment.pop(mine, None)
    with tempfile.TemporaryDirectory(prefix="fresh-clone-", ignore_cleanup_errors=True) as folder:
        clone = Path(folder) / "clone"
        try:
            subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
            for command, what in COMMANDS.items():
                print(f"\n$ {command}", flush=True)
                began = time.perf_counter()
                subprocess.run(command.split(), cwd=clone, env=environment, check=True)
                minutes = round((time.perf_counter() - began) / 60, 1)
                commands[command] = {"minutes": minutes, "what": what}
                print(f"{command}: {minutes} minutes", flush=True)
                made = made or list(clone.glob("runs/*/*.json"))  # tests leave runs of their own
            (profile,) = {path.parent.name for path in made}
            core_minutes = round(sum(read_json(path)["minutes"] for path in made), 1)
        except subprocess.CalledProcessError as error:
            command = " ".join(map(str, error.cmd))
            print(f"error: `{command}` failed, exit status {error.returncode}", file=sys.stderr)
            return 1
        head = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.check_output(head, cwd=clone, text=True).strip()
    facts = {"profile": profile, "cores": os.cpu_count(), "processor": processor()}
    facts["core_minutes"] = core_minutes  # of its runs, training and scoring
    write_json(out, {"commands": commands, **facts, "commit": commit})
    return 0


if __name__ == "__main__":
    sys.exit(main())

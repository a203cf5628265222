"""Kill `make replicate PROFILE=smoke` at random moments, in every way, and see how it ends.

    make test-kill            # 12 kills; KILLS=40 for more. Some 10 minutes on two idle cores

After each kill nothing of it may run on; at the end the tables and scores are those of a run that
nobody disturbed. Not collected by `make test`.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("KILLS_SEED", str(time.time_ns() % 1000)))
ENDS = (signal.SIGKILL, signal.SIGTERM)
TERMINAL = (signal.SIGHUP, signal.SIGINT)  # a closed terminal, Ctrl-C; make alone waits on these
KINDS = [("make", number) for number in ENDS]
KINDS += [(target, n) for target in ("its child", "the group") for n in ENDS + TERMINAL]
COMMAND = ["make", "replicate", "PROFILE=smoke", "DEVICE=cpu", "VENV=none"]
GONE, STOPPED = 2, 10  # seconds within which nothing is left; after Ctrl-C, which has a last word

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def copy_of_the_project(folder: Path) -> Path:
    """What git would clone of the working tree, and the data if they are drawn already."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if (ROOT / "data").is_dir():
        shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("*.part"))
    return folder


def hear_the_terminal() -> None:
    """A job in the background, or under nohup, would hand on to its children to hear no signal."""
    for number in TERMINAL:
        signal.signal(number, signal.SIG_DFL)


def start(folder: Path) -> subprocess.Popen:
    """`make replicate` in its own group, as a terminal starts it; its words go to make.log."""
    names = ("PROFILE", "SEEDS", "DEVICE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DIPVAE_PARENT")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment["DIPVAE_KILL_TEST"] = str(folder)
    with open(folder / "make.log", "ab") as log:
        return subprocess.Popen(
            [*COMMAND, f"PYTHON={sys.executable}"], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=hear_the_terminal,
        )  # fmt: skip


def running(folder: Path) -> list[str]:
    """The command lines of all that was started for this folder and has not ended."""
    mark, found = f"DIPVAE_KILL_TEST={folder}\0".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_ours = mark in (process / "environ").read_bytes()
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if is_ours and words:  # a process that only waits to be reaped has no words
                found.append(words)
    return found


def kill(process: subprocess.Popen, target: str, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if target == "the group":
            os.killpg(process.pid, number)
        elif target == "make":
            os.kill(process.pid, number)
        else:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            for child in children.read_text("utf-8").split():
                os.kill(int(child), number)


def tables(folder: Path) -> dict[str, object]:
    """All that the tables say, and the scores of every run."""
    figures, runs = folder / "figures" / "smoke", folder / "runs" / "smoke"
    said = {
        p.name: p.read_text("utf-8") for p in figures.glob("*.*") if p.suffix in (".csv", ".md")
    }
    for path in runs.glob("*.json"):
        result = json.loads(path.read_text("utf-8"))
        said[path.name] = {key: result[key] for key in ("settings", "seed", "metrics", "losses")}
    return said


def last_words(folder: Path) -> str:
    return "\n".join((folder / "make.log").read_text("utf-8", "replace").splitlines()[-15:])


def test_no_kill_leaves_anything_running_or_changes_a_table(tmp_path):
    undisturbed, killed = (copy_of_the_project(tmp_path / name) for name in ("calm", "killed"))
    began = time.perf_counter()
    assert start(undisturbed).wait() == 0, last_words(undisturbed)
    whole = time.perf_counter() - began
    print(f"\nundisturbed: {whole:.0f} s; seed {SEED}: KILLS_SEED={SEED} repeats these kills")

    chance, tally, slowest = random.Random(SEED), Counter(), 0.0
    for count in range(KILLS):
        process, wait = start(killed), chance.uniform(0, min(whole / 4, 60))
        target, number = chance.choice(KINDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.wait(wait) == 0, last_words(killed)  # done before it was killed
            tally["ended by itself"] += 1
            shutil.rmtree(killed / "runs")
            continue
        kill(process, target, number)
        sent = time.perf_counter()
        patience = STOPPED if number == signal.SIGINT else GONE
        while (left := running(killed)) and time.perf_counter() - sent < patience:
            process.poll()
            time.sleep(0.02)
        slowest = max(slowest, time.perf_counter() - sent)
        print(f"{count + 1}: {number.name} to {target} after {wait:.1f} s; left: {left or 'none'}")
        assert not left and process.wait(GONE) != 0
        tally[f"{number.name} to {target}"] += 1

    assert start(killed).wait() == 0, last_words(killed)
    assert tables(killed) == tables(undisturbed) and len(tables(killed)) > 10
    print(f"{KILLS} kills ({dict(tally)}): nothing left after {slowest:.2f} s, tables unchanged")

"""Copy the runs of a profile that can be shown from runs/ to results/, to be committed.

python -m replication.publish --profile quick     # what `make publish` calls
"""

from replication import lifeline  # noqa: F401  # isort: skip  (first: it holds us to our starter)

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from replication import profiles, provenance, record, results
from replication.codes import FACTORS
from replication.jobs import Stop, short
from replication.report import explorer
from replication.show import summary

ROOT = provenance.ROOT
OUTPUTS = ("*.json", "*.png", "*.npz", "kept/*.npz", "frames/*.webp")  # of a committed profile


def without_photographs(picture: Path) -> bytes:
    """A traversal sheet, its first row of test images white: CelebA's may not be passed on."""
    pixels = np.array(Image.open(picture))
    pixels[:SIDE] = 255
    return record.png(pixels)


def publish(profile: str, source: Path, target: Path) -> str:
    """Copy what can be shown of a profile, all of this code, and say so in a line.

    Stop, with nothing changed, where results that are in `target` now would be lost by it.
    """
    plan, runs = summary.showable(profile, source), profiles.runs_of(profiles.plan(profile))
    there = {path.name for path in source.glob("*.json")}
    copied = {results.path_of(target, *run).name for run in profiles.runs_of(plan)} & there
    if lost := sorted({path.name for path in target.glob("*.json")} - copied):
        what = f"{len(lost)} results in {short(target)} are not in {short(source)} ({lost[0]})"
        raise Stop(f"{what}; copy them there or delete them first")
    found = results.collect(source, plan)
    if not all(provenance.is_present(result["code"]) for result in found):
        raise Stop(f"the results in {source} were made by other code; run `make replicate` first")
    for end in OUTPUTS:
        for old in target.glob(end):
            old.unlink()
    for result in found:
        path = results.path_of(source, Settings(**result["settings"]), result["seed"])
        if result["picture"]:
            picture = path.with_suffix(".png")
            is_celeba = result["data"]["name"] == "CelebA"
            content = without_photographs(picture) if is_celeba else picture.read_bytes()
            results.write_whole(target / picture.name, content)
            result["picture"]["sha256"] = hashlib.sha256(content).hexdigest()
        if result["codes"]:
            for file in (result["codes"]["file"], FACTORS):
                results.write_whole(target / file, path.with_name(file).read_bytes())
        results.write(target / path.name, result)
    explorer.leave(source, target)
    what = f"{len(copied)} of {len(runs)} results copied to {short(target)}"
    if others := len(there - copied):
        what += f" ({others} more in {short(source)} are not of the profile, or not shown yet)"
    return f"{what}; commit them, then run `make figures readme`"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default=profiles.SMALL, choices=profiles.PROFILES)
    profile = parser.parse_args().profile
    try:
        print(publish(profile, ROOT / "runs" / profile, ROOT / "results" / profile))
    except (Stop, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

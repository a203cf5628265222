"""Lay further rulers to runs that are done: of their codes and pictures, without training.

    python -m replication.measure results/evening    # rulers.py and score_readings.py
    python -m replication.measure results/evening --traversals    # traversal_score.py
    python -m replication.measure results/quick --all-images      # trains again, on data/

What they say stands in the result's fields `rulers`, `readings`, `traversals` and `all_images`,
with the hash of the code that said it. A result counts as well without them; what the present code
has said is not measured again. A run takes some 15 seconds on one core, half a minute for its
traversals, and with all images as long as its training.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

from dipvae_src.evaluate import means_of
from dipvae_src.sap import sap_score
from dipvae_src.settings import Settings
from dipvae_src.train import train
from replication import datasets, provenance, results, rulers, score_readings, traversal_score
from replication.codes import read_codes
from replication.scores import rounded, scores_seed


def by_codes(score: Callable[..., dict], path: Path, result: dict, *told) -> dict | None:
    """What a score says of the codes of the result at `path`; None where it left none."""
    if not result["codes"]:
        return None
    mu, factors = read_codes(path.with_name(result["codes"]["file"]))
    found = score(mu, factors, result["metrics"]["sap"]["discrete"], *told)
    return {name: rounded(value) for name, value in found.items()}


def by_rulers(path: Path, result: dict) -> dict | None:
    """What rulers.py says of a run's codes."""
    return by_codes(rulers.rulers, path, result)


def by_readings(path: Path, result: dict) -> dict | None:
    """What score_readings.py says of a run's codes."""
    told = (Settings(**result["settings"]), scores_seed(result["seed"]))
    return by_codes(score_readings.score_readings, path, result, *told)


def by_traversals(path: Path, result: dict) -> dict | None:
    """What traversal_score.py says of its picture; None where it left none, or not of 2D Shapes."""
    if not result["picture"] or result["settings"]["data"] != "shapes2d":
        return None
    found = traversal_score.traversal_score(path.with_name(result["picture"]["file"]))
    return {name: value if value is None else rounded(value) for name, value in found.items()}


def by_all_images(path: Path, result: dict) -> dict | None:
    """SAP of all test images, where a result's codes have the first ones; None where it left none.

    No encoder is kept, so the run is trained again. Raises ValueError where it has other losses.
    """
    if not result["codes"]:
        return None
    settings = Settings(**result["settings"])
    data = datasets.load(settings.data)
    model, losses = train(settings, result["seed"], data)
    if losses != result["losses"]:
        raise ValueError(f"{path.name} trained again has other losses: another machine or versions")
    test = data.split()[1]
    score = sap_score(means_of(model, data, test), data.factors(test), data.discrete).score
    return {f"SAP, {len(test):,} images": rounded(score)}


FIELDS = {
    "rulers": (by_rulers, rulers.CODE),
    "readings": (by_readings, score_readings.CODE),
    "traversals": (by_traversals, traversal_score.CODE),
    "all_images": (by_all_images, provenance.LOADED["training"]),
}


def measure(path: Path, field: str) -> bool:
    """Write a field of FIELDS into a result, unless it is there or cannot be; whether it was.

    Raises BadResult or BadCodes where the result, its picture or its codes are damaged.
    """
    ruler, code = FIELDS[field]
    result = results.read(path)
    if result.get(field, {}).get("code") == code or (found := ruler(path, result)) is None:
        return False
    results.write(path, result | {field: {"code": code, **found}})
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="+", help="results, or folders of them")
    option = parser.add_argument
    option("--traversals", action="store_true", help="the pictures, not the codes")
    option("--all-images", action="store_true", help="all test images, by training again")
    args = parser.parse_args(arguments)
    other = [field for field in ("traversals", "all_images") if getattr(args, field)]
    fields = other or ["rulers", "readings"]
    found = [sorted(path.glob("*.json")) if path.is_dir() else [path] for path in args.paths]
    paths, made = list(itertools.chain(*found)), 0
    try:
        for path in paths:
            if done := [field for field in fields if measure(path, field)]:
                made += 1
                print(f"{path}: {' and '.join(done)} measured", flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{made} of {len(paths)} results measured; the rest are already, or left nothing to measure"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Lay further rulers to runs that are done: of their codes and pictures, without training.

    python -m replication.measure results/evening    # rulers.py and score_readings.py
    python -m replication.measure results/evening --traversals    # traversal_score.py

What they say stands in the result's fields `rulers`, `readings` and `traversals`, with the hash of
the code that said it. A result counts as well without them; what the present code has said is not
measured again. A run takes some 15 seconds on one core, half a minute for its traversals.
"""

import argparse
import itertools
from pathlib import Path

from dipvae_src.settings import Settings
from replication import codes, results, rulers, score_readings, traversal_score
from replication.scores import rounded, scores_seed


def by_rulers(path: Path, result: dict) -> dict | None:
    """What rulers.py says of the codes of the result at `path`; None where it left none."""
    if not result["codes"]:
        return None
    mu, factors = codes.read_codes(path.with_name(result["codes"]["file"]))
    found = rulers.rulers(mu, factors, result["metrics"]["sap"]["discrete"])
    return {name: rounded(score) for name, score in found.items()}


def by_readings(path: Path, result: dict) -> dict | None:
    """What score_readings.py says of the codes of the result at `path`; None where it left none."""
    if not result["codes"]:
        return None
    mu, factors = codes.read_codes(path.with_name(result["codes"]["file"]))
    told = (result["metrics"]["sap"]["discrete"], Settings(**result["settings"]))
    found = score_readings.score_readings(mu, factors, *told, scores_seed(result["seed"]))
    return {name: rounded(score) for name, score in found.items()}


def by_traversals(path: Path, result: dict) -> dict | None:
    """What traversal_score.py says of its picture; None where it left none, or not of 2D Shapes."""
    if not result["picture"] or result["settings"]["data"] != "shapes2d":
        return None
    found = traversal_score.traversal_score(path.with_name(result["picture"]["file"]))
    return {name: value if value is None else rounded(value) for name, value in found.items()}


FIELDS = {
    "rulers": (by_rulers, rulers.CODE),
    "readings": (by_readings, score_readings.CODE),
    "traversals": (by_traversals, traversal_score.CODE),
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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="+", help="results, or folders of them")
    parser.add_argument("--traversals", action="store_true", help="the pictures, not the codes")
    args = parser.parse_args(arguments)
    fields = ["traversals"] if args.traversals else ["rulers", "readings"]
    found = [sorted(path.glob("*.json")) if path.is_dir() else [path] for path in args.paths]
    for path in itertools.chain(*found):
        if done := [field for field in fields if measure(path, field)]:
            print(f"{path}: {' and '.join(done)} measured", flush=True)


if __name__ == "__main__":
    main()

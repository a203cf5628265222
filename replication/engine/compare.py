"""Do two ways of training the same runs give the same scores? Say, bf16 products against float32, or a GPU against a CPU.

    python -m replication.engine.visit --profile quick --precision bf16 --have none --out runs/bf16
    python -m replication.engine.compare --profile quick runs/bf16 results/quick

Compared are the rows of Table 1, by their means over the seeds that both folders hold: the change, its 95 % interval (Welch's t),
and the standard deviation over seeds that it has to be seen against.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from replication import profiles, results
from replication.show import summary


def rows_of(profile: str, first: Path, second: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of Table 1 on 2D Shapes (summary.per_run) that both folders hold; FileNotFoundError where there are none."""
    plan = profiles.plan(profile, data="shapes2d")[: len(profiles.table_1())]
    both = []
    for settings, seeds in plan:
        there = [
            s
            for s in seeds
            if all(results.path_of(folder, settings, s).exists() for folder in (first, second))
        ]
        both += [(settings, tuple(there))] if there else []
    if not both:
        raise FileNotFoundError(
            f"{first} and {second} hold no run of the {profile} profile's Table 1 in common"
        )
    return tuple(
        summary.per_run(summary.ProfileResults(profile, results.collect(folder, both), ""))
        for folder in (first, second)
    )


def compare(profile: str, first: Path, second: Path) -> pd.DataFrame:
    """One row per model and score: mean in the first and in the second folder, the change with its interval, the deviation over seeds."""
    a, b = rows_of(profile, first, second)
    rows = []
    for label in dict.fromkeys(a["label"]):
        for metric, name in summary.METRICS.items():
            x, y = (runs[runs["label"] == label][metric].to_numpy() for runs in (a, b))
            low, high = summary.interval_of_difference(x, y)
            spread = math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2) if len(x) > 1 else math.nan
            within = "" if not math.isfinite(low) else "yes" if low <= 0 <= high else "NO"
            rows.append({
                "model": label, "seeds": len(x), "score": name, "first": x.mean(), "second": y.mean(), "change": x.mean() - y.mean(),
                "from": low, "to": high, "over seeds": spread, "interval holds 0": within,
            })  # fmt: skip
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper", help=", ".join(profiles.PROFILES))
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--out", type=Path, help="also write the table to this CSV file")
    args = parser.parse_args(arguments)
    try:
        table = compare(args.profile, args.first, args.second)
        print(table.to_string(index=False, float_format=lambda v: f"{v:.4g}"))
        changes = (table["change"].abs() / table["over seeds"].replace(0, np.nan)).dropna()
        print(
            f"largest change: {changes.max():.2f} standard deviations over seeds; median {changes.median():.2f}"
        )
        if args.out:
            results.write_whole(args.out, table.to_csv(index=False).encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

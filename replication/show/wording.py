"""How tables, titles and sentences write numbers, models and text from elsewhere."""

import html
import math
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from replication.show.statistics import Interval

# Of a number in a table; others have 4.
DIGITS = {"zdiff": 1, "sap": 3, "active": 1, "accuracy": 1, "balanced accuracy": 1}
LARGEST = {"zdiff": 100, "sap": 1, "correlation": 1}  # that a score can be; none is below 0
WITHOUT_HALF = (
    "A mean without ± is of one seed, or of seeds so far apart that the interval would reach "
    "beyond what the score can be."
)


def brief(label: str) -> str:
    """A model's label as titles write it: DIP-VAE-I (10)."""
    return re.sub(r"\((beta|lambda_od) ", "(", label)


def together(labels: list[str]) -> str:
    """Several models in short: VAE, beta-VAE (4, 60)."""
    weights = {}
    for label in labels:
        name, _, weight = brief(label).rstrip(")").partition(" (")
        weights.setdefault(name, []).append(weight)
    return ", ".join(
        f"{name} ({', '.join(its)})" if any(its) else name for name, its in weights.items()
    )


def listed(words: Iterable[str]) -> str:
    """One, two and three."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def number(value: float, metric: str, scale: int = 1) -> str:
    """A score as tables write it; never -0.000."""
    return f"{value:z.{2 if metric == 'sap' and scale == 100 else DIGITS.get(metric, 4)}f}"


def with_half(value: float, half: float, metric: str, scale: int = 1, change: bool = False) -> str:
    """A mean and the half-width of its interval, where there is one that stays within what the
    score can be (WITHOUT_HALF), or what is told is a change; nothing for NaN.
    """
    if math.isnan(value):
        return ""
    text, top = number(value, metric, scale), LARGEST.get(metric, math.inf)
    top *= scale if metric == "sap" else 1
    within = value - half >= 0 and value + half <= top or change and not math.isnan(half)
    return f"{text} ± {number(half, metric, scale)}" if within else text


def from_to(found: Interval, metric: str, scale: int = 1) -> str:
    """A mean difference with its interval and the number of seeds. An end that would be rounded to
    0 has one digit that is not, as it says on which side of 0 it lies.
    """
    if found.n < 2:
        return f"{number(found.mean, metric, scale)} (one seed)"

    def ending(value: float) -> str:
        text = number(value, metric, scale)
        if float(text) or not value:
            return text
        return np.format_float_positional(value, 1, fractional=False, trim="-")

    low, high = ending(found.low), ending(found.high)
    return f"{number(found.mean, metric, scale)} ({low} to {high}, n = {found.n})"


def escaped(text: object) -> str:
    """Plain text for Markdown and HTML: nothing in it is a tag, a link, emphasis or a new cell."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"[\[\]|`*~$\\]", lambda sign: f"&#{ord(sign[0])};", text)


def markdown(frame: pd.DataFrame) -> str:
    """A table that GitHub renders; its cells are plain text, NaN an empty one."""
    frame = frame.astype(object).where(frame.notna(), "")
    lines = ["| " + " | ".join(map(escaped, frame.columns)) + " |", "|" + " --- |" * frame.shape[1]]
    rows = ("| " + " | ".join(map(escaped, row)) + " |" for row in frame.itertuples(index=False))
    return "\n".join([*lines, *rows])

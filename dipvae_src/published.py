"""The paper's own numbers, each with its standing: checked against the PDF by somebody, or only recalled.

    python -m dipvae_src.published      # with the PDF at hand: confirm or correct each row
"""

import json
import sys
from pathlib import Path

from dipvae_src.results import write_whole

PATH = Path(__file__).resolve().parents[1] / "results" / "published.json"
METRICS = ("zdiff", "sap", "reconstruction_error")
DAGGER = "†"
STANDING = f"{DAGGER} published value recalled, not checked against the paper's PDF"


def table_1() -> dict[tuple[str, float], dict]:
    """Rows of Table 1 by (objective, weight): its three metrics and `verified`. ValueError for a damaged file."""
    rows = json.loads(PATH.read_text("utf-8"))["table_1"]
    for row in rows:
        if not all(isinstance(row.get(m), (int, float)) for m in METRICS) or not isinstance(row.get("verified"), bool):
            raise ValueError(f"{PATH}: the row {row} lacks a number or its standing")
    return {(row["objective"], row["weight"]): row for row in rows}


def confirm(ask=input) -> int:
    """Ask for the three numbers of each unverified row; an empty answer keeps a row unverified. The rows now verified."""
    document = json.loads(PATH.read_text("utf-8"))
    for row in document["table_1"]:
        if row["verified"]:
            continue
        shown = " ".join(str(row[m]) for m in METRICS)
        answer = ask(f"{row['objective']} {row['weight']}: Z-diff, SAP, error are {shown}. Type the three from the PDF: ").split()
        if not answer:
            continue
        try:
            values = [float(a) for a in answer]
        except ValueError:
            values = []
        if len(values) != len(METRICS):
            raise ValueError(f"three numbers are wanted, like {shown!r}, not {' '.join(answer)!r}; nothing was changed")
        row |= dict(zip(METRICS, values)) | {"verified": True}
    write_whole(PATH, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    return sum(row["verified"] for row in document["table_1"])


if __name__ == "__main__":
    try:
        print(f"{confirm()} rows are verified; `make figures readme` shows it")
    except (ValueError, OSError, EOFError) as error:
        sys.exit(f"error: {error or 'stopped; nothing was changed'}")

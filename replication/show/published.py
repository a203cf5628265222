"""The paper's own numbers, each with its standing: checked against the PDF by somebody, or only recalled.

python -m replication.show.published      # with the PDF at hand: confirm or correct each row
"""

import json
import math
import sys
from pathlib import Path

from replication.results import write_whole

PATH = Path(__file__).resolve().parents[2] / "results" / "published.json"
METRICS = ("zdiff", "sap", "reconstruction_error")
SAP_TIMES = {
    "shapes2d": 1,
    "celeba": 100,
}  # Table 1 prints CelebA's SAP times 100; the values here are as printed
DAGGER = "†"
UNVERIFIED_NOTE = f"{DAGGER} published value recalled, not checked against the paper's PDF"
NOT_KNOWN = "not known"


def table_1(data: str = "shapes2d") -> dict[tuple[str, float], dict]:
    """Rows of Table 1 for `data`, a key of SAP_TIMES, by (objective, weight): its three metrics, as printed, and `verified`.

    The weight is beta or lambda_od. Raises ValueError for a data set that the table lacks, or a damaged file.
    """
    if data not in SAP_TIMES:
        raise ValueError(f"Table 1 has no data set {data!r}; it has {', '.join(SAP_TIMES)}")
    rows = json.loads(PATH.read_text("utf-8"))["table_1"]
    for row in rows:
        if not _whole(row, [row.get(m) for m in METRICS]) or row.get("data") not in SAP_TIMES:
            raise ValueError(f"{PATH}: the row {row} lacks a number, its data set or its standing")
    return {(row["objective"], row["weight"]): row for row in rows if row["data"] == data}


def table_2() -> dict:
    """Table 2: `attributes`, twelve names, and `rows`, each its `accuracy` in percent by attribute, and `verified`.

    Rows go by (objective, weight); "DIP-VAE" by this name alone, since which of I and II it is is not known. An accuracy is
    None where the paper has a row but its numbers are not known. Raises ValueError for a damaged file.
    """
    table = json.loads(PATH.read_text("utf-8"))["table_2"]
    names, rows = table["attributes"], {}
    for row in table["rows"]:
        known = row.get("accuracy") or []
        values = known or [None] * len(names)
        if len(values) != len(names) or not _whole(row, known) or (row["verified"] and not known):
            raise ValueError(
                f"{PATH}: the row {row} lacks a number for each of {len(names)} attributes, or its standing"
            )
        rows[_key(row)] = {"accuracy": dict(zip(names, values)), "verified": row["verified"]}
    return {"attributes": names, "rows": rows}


def cell(value: float | None, verified: bool) -> str:
    """A published value as tables show it: with a dagger until it is verified; "not known" for None."""
    return NOT_KNOWN if value is None else f"{value}{'' if verified else DAGGER}"


def confirm(ask=input) -> int:
    """Ask for the numbers of each unverified row of both tables; how many rows are now verified.

    An empty answer keeps a row as it is, the end of the answers (Ctrl-D) all that are left. Each answer is written at once.
    Raises ValueError for a wrong answer; its row is not changed.
    """
    table_1(), table_2()  # a damaged file is refused before anything is asked
    document = json.loads(PATH.read_text("utf-8"))
    names, rows = (
        document["table_2"]["attributes"],
        document["table_1"] + document["table_2"]["rows"],
    )
    for row in (row for row in rows if not row["verified"]):
        key = _key(row) if "name" in row else "{} {}".format(*_key(row))
        if "data" in row:
            sap = f"SAP times {SAP_TIMES[row['data']]}" if SAP_TIMES[row["data"]] > 1 else "SAP"
            what, shown = (
                f"Table 1, {row['data']}, {key}: Z-diff, {sap}, error",
                [row[m] for m in METRICS],
            )
        else:
            what, shown = (
                f"Table 2, {key}: {', '.join(names)}",
                row["accuracy"] or [NOT_KNOWN] * len(names),
            )
        try:
            answer = ask(
                f"{what} are {', '.join(map(str, shown))}. Type the {len(shown)} from the PDF: "
            ).split()
        except EOFError:
            break
        if answer:
            values = _numbers(answer, len(shown))
            row |= (dict(zip(METRICS, values)) if "data" in row else {"accuracy": values}) | {
                "verified": True
            }
            write_whole(PATH, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    return sum(row["verified"] for row in rows)


def _key(row):
    """(objective, weight), or the name of a row that has no more."""
    return (row["objective"], row["weight"]) if "objective" in row else row["name"]


def _whole(row, values):
    """Whether `values` are numbers and the row says whether it is verified."""
    return all(type(v) in (int, float) and math.isfinite(v) for v in values) and isinstance(
        row.get("verified"), bool
    )


def _numbers(answer, count):
    """The words of an answer as `count` numbers; ValueError otherwise."""
    try:
        values = [float(word) for word in answer]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(v) and v >= 0 for v in values):
        many = {3: "three", 12: "twelve"}.get(count, count)
        raise ValueError(
            f"{many} numbers are wanted, in the order asked, not {' '.join(answer)!r}; this row was not changed"
        )
    return values


if __name__ == "__main__":
    try:
        print(f"{confirm()} rows are verified; `make figures readme` shows it")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the rows answered so far are kept")

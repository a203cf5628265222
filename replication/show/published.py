"""The paper's own numbers, each with its standing: checked against the PDF, or recalled.

python -m replication.show.published           # with the PDF at hand: confirm or correct each row
python -m replication.show.published --sign    # after an edit by hand: check it, renew its checksum
"""

import sys
from pathlib import Path

from replication.forms import FLAG, PERCENT, POSITIVE, BadResult, check
from replication.results import read_json, write_json

PATH = Path(__file__).resolve().parents[2] / "results" / "published.json"
MEND = "restore it with git, or sign your edit: python -m replication.show.published --sign"
METRICS = ("zdiff", "sap", "reconstruction_error")
# Table 1 prints CelebA's SAP times 100; the values here are as printed.
SAP_TIMES = {"shapes2d": 1, "celeba": 100}
DAGGER = "†"
UNVERIFIED_NOTE = f"{DAGGER} published value recalled, not checked against the paper's PDF"
NOT_KNOWN = "not known"
MODEL = {"objective": "text like beta-vae|dip-vae-i|dip-vae-ii", "weight": POSITIVE}
ROW_1 = MODEL | {"data": f"text like {'|'.join(SAP_TIMES)}", "verified": FLAG}
ROW_1 |= {"zdiff": PERCENT, "sap": PERCENT, "reconstruction_error": POSITIVE}


def read(signed: bool = True) -> dict:
    """The file of published numbers; BadResult naming file and field where it is damaged."""
    document = read_json(PATH, MEND, signed)
    table_2 = {"note": "text", "attributes": ["text", 12], "rows": ["named values", "rows"]}
    form = {"source": "text", "note": "text", "table_1": [ROW_1, "lines"], "table_2": table_2}
    try:
        check(document, form, "published", {})
        for i, row in enumerate(document["table_2"]["rows"]):
            known = row.get("accuracy") is not None or row.get("verified") is True
            form = {"verified": FLAG, "accuracy": [PERCENT, 12] if known else "null"}
            form |= {"name": "text"} if "name" in row else MODEL
            check(row, form, f"published.table_2.rows[{i}]", {})
    except BadResult as error:
        raise BadResult(f"{PATH} is damaged: {error}; {MEND}") from error
    return document


def table_1(data: str = "shapes2d") -> dict[tuple[str, float], dict]:
    """Rows of Table 1 for `data`, a key of SAP_TIMES, by (objective, weight), and `verified`.

    A row has its three METRICS as printed; the weight is beta or lambda_od. Raises ValueError for a
    data set that the table lacks, or a damaged file.
    """
    if data not in SAP_TIMES:
        raise ValueError(f"Table 1 has no data set {data!r}; it has {', '.join(SAP_TIMES)}")
    return {_key(row): row for row in read()["table_1"] if row["data"] == data}


def table_2() -> dict:
    """Table 2: `attributes`, twelve names; `rows`, each its `accuracy` by attribute and `verified`.

    Rows go by (objective, weight); "DIP-VAE" by this name alone, since which of I and II it is is
    not known. An accuracy, in percent, is None where the paper has a row whose numbers are not
    known. Raises ValueError for a damaged file.
    """
    table = read()["table_2"]
    names, rows = table["attributes"], {}
    for row in table["rows"]:
        accuracy = dict(zip(names, row["accuracy"] or [None] * len(names)))
        rows[_key(row)] = {"accuracy": accuracy, "verified": row["verified"]}
    return {"attributes": names, "rows": rows}


def cell(value: float | None, verified: bool) -> str:
    """A published value as tables show it: with a dagger until it is verified, or "not known"."""
    return NOT_KNOWN if value is None else f"{value}{'' if verified else DAGGER}"


def confirm(ask=input) -> int:
    """Ask for the numbers of each unverified row of both tables; how many rows are now verified.

    An empty answer keeps a row as it is, the end of the answers (Ctrl-D) all that are left. Each
    answer is written at once. Raises ValueError for a wrong answer; its row is not changed.
    """
    document = read()
    attributes = document["table_2"]["attributes"]
    rows = document["table_1"] + document["table_2"]["rows"]
    for row in (row for row in rows if not row["verified"]):
        if "data" in row:
            times = SAP_TIMES[row["data"]]
            names = ["Z-diff", "SAP" if times == 1 else f"SAP times {times}", "error"]
            table, known = f"Table 1, {row['data']}", [row[metric] for metric in METRICS]
        else:
            table, names = "Table 2", attributes
            known = row["accuracy"] or [NOT_KNOWN] * len(names)
        model = row.get("name") or "{} {}".format(*_key(row))
        what = f"{table}, {model}: {', '.join(names)} are {', '.join(map(str, known))}"
        try:
            answer = ask(f"{what}. Type the {len(names)} from the PDF: ").split()
        except EOFError:
            break
        if answer:
            values = _numbers(answer, len(names))
            row |= dict(zip(METRICS, values)) if "data" in row else {"accuracy": values}
            row["verified"] = True
            write_json(PATH, document)
    return sum(row["verified"] for row in rows)


def _key(row):
    """(objective, weight), or the name of a row that has no more."""
    return (row["objective"], row["weight"]) if "objective" in row else row["name"]


def _numbers(answer, count):
    """The words of an answer as `count` numbers, 0 to 100; ValueError otherwise."""
    try:
        values = [float(word) for word in answer]
        check(values, [PERCENT, count], "answer", {})
    except ValueError:
        wanted, given = (
            f"{count} numbers are wanted, 0 to 100, in the order asked",
            " ".join(answer),
        )
        raise ValueError(f"{wanted}, not {given!r}; this row was not changed") from None
    return values


def main(words: list[str]) -> str:
    """What the command has done; ValueError or OSError otherwise."""
    if words not in ([], ["--sign"]):
        raise ValueError(f"unknown words {' '.join(words)!r}; give --sign, or nothing to be asked")
    if words:
        write_json(PATH, read(signed=False))
        return f"{PATH} is in order and signed; `make figures readme` shows it"
    return f"{confirm()} rows are verified; `make figures readme` shows it"


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the rows answered so far are kept")

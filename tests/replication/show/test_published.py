"""The paper's numbers: every row there, none shown as checked or known that is not, and the questions that confirm them.

python -m pytest tests/test_published.py    (tests/test_figures.py has those on the 2D Shapes half of Table 1)
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from replication.show import published

TWELVE = " ".join(str(70 + i) for i in range(12))


@pytest.fixture(autouse=True)
def unverified(tmp_path, monkeypatch):
    """A copy of the project's file with no row verified, and the numbers of beta-VAE in Table 2 not known."""
    document = json.loads(published.PATH.read_text("utf-8"))
    for row in document["table_1"] + document["table_2"]["rows"]:
        row["verified"] = False
        if row.get("weight") in (2, 4, 8) and "accuracy" in row:
            row["accuracy"] = None
    monkeypatch.setattr(published, "PATH", tmp_path / "published.json")
    save(document)


def save(document) -> None:
    published.PATH.write_text(json.dumps(document), "utf-8")


def saved():
    return json.loads(published.PATH.read_text("utf-8"))


def script(answers):
    """An `ask` that keeps the questions: its answers in turn, then empty ones."""
    asked, answers = [], iter(answers)

    def ask(question):
        asked.append(question)
        return next(answers, "")

    return ask, asked


def test_each_data_set_has_its_six_rows_with_its_own_weights():
    fixed = {("beta-vae", 1), ("beta-vae", 4)}
    assert set(published.table_1("celeba")) == fixed | {
        ("beta-vae", 32),
        ("dip-vae-i", 2),
        ("dip-vae-ii", 1),
        ("dip-vae-ii", 80),
    }
    assert set(published.table_1()) == fixed | {
        ("beta-vae", 60),
        ("dip-vae-i", 10),
        ("dip-vae-ii", 5),
        ("dip-vae-ii", 500),
    }
    assert published.table_1() == published.table_1("shapes2d")
    assert len(saved()["table_1"]) == 12  # no row twice
    with pytest.raises(ValueError, match="no data set 'chairs'; it has shapes2d, celeba"):
        published.table_1("chairs")


def test_sap_of_celeba_is_as_printed_a_hundred_times_the_score():
    for data, rows in ((data, published.table_1(data).values()) for data in published.SAP_TIMES):
        assert all(
            0 < row["sap"] / published.SAP_TIMES[data] < 1 and 0 < row["reconstruction_error"] < 1
            for row in rows
        )
    assert max(row["sap"] for row in published.table_1("celeba").values()) > 1


def test_table_2_has_twelve_attributes_and_leaves_unknown_rows_unknown():
    table = published.table_2()
    assert len(set(table["attributes"])) == 12 and table["attributes"] == sorted(
        table["attributes"]
    )
    assert list(table["rows"]) == [
        ("beta-vae", 1),
        ("beta-vae", 2),
        ("beta-vae", 4),
        ("beta-vae", 8),
        "DIP-VAE",
    ]
    for key, row in table["rows"].items():
        known = key in (("beta-vae", 1), "DIP-VAE")
        assert list(row["accuracy"]) == table["attributes"] and row["verified"] is False
        assert all(50 < v < 100 if known else v is None for v in row["accuracy"].values())


def test_cells_show_what_is_checked_recalled_and_not_known():
    assert published.cell(71.8, True) == "71.8" and published.cell(71.8, False) == "71.8†"
    assert published.cell(None, False) == "not known"


def test_every_unverified_row_of_both_tables_is_asked_and_empty_answers_keep_the_file():
    before = published.PATH.read_bytes()
    ask, asked = script([])
    assert published.confirm(ask) == 0 and published.PATH.read_bytes() == before
    assert len(asked) == 12 + 5
    assert (
        asked[0].startswith("Table 1, shapes2d, beta-vae 1: Z-diff, SAP, error are")
        and "Type the 3 " in asked[0]
    )
    assert asked[6].startswith("Table 1, celeba, beta-vae 1: Z-diff, SAP times 100, error are")
    assert (
        asked[13].startswith("Table 2, beta-vae 2: Arched_Eyebrows, ")
        and asked[13].count("not known") == 12
    )
    assert (
        asked[16].startswith("Table 2, DIP-VAE: Arched_Eyebrows, ") and "Type the 12 " in asked[16]
    )


def test_answers_are_recorded_in_their_row_alone_and_not_asked_again():
    before = saved()
    ask, _ = script(
        ["", "", "", "", "", "", "", "8.2 0.5 0.09", "", "", "", "", "", TWELVE, "", "", ""]
    )
    assert published.confirm(ask) == 2
    row = published.table_1("celeba")[("beta-vae", 4)]
    assert [row[m] for m in published.METRICS] == [8.2, 0.5, 0.09] and row["verified"] is True
    assert published.table_1()[("beta-vae", 4)]["verified"] is False
    found = published.table_2()["rows"][("beta-vae", 2)]
    assert list(found["accuracy"].values()) == list(range(70, 82)) and found["verified"] is True
    before["table_1"][7] |= {
        "zdiff": 8.2,
        "sap": 0.5,
        "reconstruction_error": 0.09,
        "verified": True,
    }
    before["table_2"]["rows"][1] |= {"accuracy": list(range(70, 82)), "verified": True}
    assert saved() == before
    ask, asked = script([])
    assert published.confirm(ask) == 2 and len(asked) == 15


@pytest.mark.parametrize(
    "wrong",
    ["81.3 0.04", "81.3 0.04 0.0017 1", "81.3 x 0.0017", "81.3 nan 0.0017", "81.3 -1 0.0017"],
)
def test_a_wrong_answer_is_refused_and_the_rows_before_it_are_kept(wrong):
    ask, _ = script(["81.3 0.04 0.0017", wrong])
    with pytest.raises(ValueError, match="three numbers are wanted"):
        published.confirm(ask)
    rows = published.table_1()
    assert rows[("beta-vae", 1)]["verified"] is True and rows[("beta-vae", 4)]["verified"] is False


def test_a_wrong_answer_in_table_2_changes_nothing():
    before = published.PATH.read_bytes()
    ask, _ = script([""] * 12 + ["71.8"])
    with pytest.raises(ValueError, match="twelve numbers are wanted"):
        published.confirm(ask)
    assert published.PATH.read_bytes() == before


def test_the_end_of_the_answers_keeps_the_rest():
    def ask(question):
        if "beta-vae 4" in question:
            raise EOFError
        return "81.3 0.04 0.0017"

    assert published.confirm(ask) == 1 and published.table_1()[("beta-vae", 1)]["sap"] == 0.04


@pytest.mark.parametrize(
    "table, row, change",
    [
        (1, 0, {"sap": None}), (1, 7, {"zdiff": "8.1"}), (1, 3, {"sap": True}), (1, 3, {"data": "x"}), (1, 3, {"verified": None}),
        (2, 0, {"accuracy": [71.8]}), (2, 0, {"accuracy": [None] * 12}), (2, 4, {"verified": "no"}), (2, 1, {"verified": True}),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_before_anything_is_asked(table, row, change):
    document = saved()
    (document["table_1"] if table == 1 else document["table_2"]["rows"])[row] |= change
    save(document)
    with pytest.raises(ValueError, match=f"{published.PATH.name}: the row"):
        published.table_1() if table == 1 else published.table_2()
    ask, asked = script([])
    with pytest.raises(ValueError):
        published.confirm(ask)
    assert asked == []


def test_answers_come_line_by_line_from_the_keyboard():
    code = (
        "import sys; from pathlib import Path; from dipvae_src import published;"
        "published.PATH = Path(sys.argv[1]); print(published.confirm(), 'verified')"
    )
    command, typed = (
        [sys.executable, "-c", code, str(published.PATH)],
        "81.4 0.0417 0.0017\n\n",
    )  # then the end of the input
    done = subprocess.run(
        command,
        input=typed,
        capture_output=True,
        text=True,
        cwd=Path(published.__file__).parents[1],
    )
    assert done.returncode == 0 and done.stdout.endswith("1 verified\n")
    assert published.table_1()[("beta-vae", 1)]["zdiff"] == 81.4

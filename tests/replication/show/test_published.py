"""The paper's numbers: every row, none shown as checked that is not, the questions that confirm.

test_figures.py has those on the 2D Shapes half of Table 1.
"""

import io
import sys

import pytest

from replication import results
from replication.show import published

TWELVE = " ".join(str(70 + i) for i in range(12))


@pytest.fixture(autouse=True)
def unverified(tmp_path, monkeypatch):
    """A copy of the project's file, no row verified, beta-VAE's numbers in Table 2 not known."""
    document = published.read()
    for row in document["table_1"] + document["table_2"]["rows"]:
        row["verified"] = False
        if row.get("weight") in (2, 4, 8) and "accuracy" in row:
            row["accuracy"] = None
    monkeypatch.setattr(published, "PATH", tmp_path / "published.json")
    save(document)


def save(document) -> None:
    results.write_json(published.PATH, document)


def saved():
    return results.read_json(published.PATH)


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
    with pytest.raises(ValueError, match="3 numbers are wanted"):
        published.confirm(ask)
    rows = published.table_1()
    assert rows[("beta-vae", 1)]["verified"] is True and rows[("beta-vae", 4)]["verified"] is False


def test_a_wrong_answer_in_table_2_changes_nothing():
    before = published.PATH.read_bytes()
    ask, _ = script([""] * 12 + ["71.8"])
    with pytest.raises(ValueError, match="12 numbers are wanted"):
        published.confirm(ask)
    assert published.PATH.read_bytes() == before


def test_the_end_of_the_answers_keeps_the_rest():
    def ask(question):
        if "beta-vae 4" in question:
            raise EOFError
        return "81.3 0.04 0.0017"

    assert published.confirm(ask) == 1 and published.table_1()[("beta-vae", 1)]["sap"] == 0.04


@pytest.mark.parametrize(
    ("table", "row", "change", "words"),
    [
        (1, 0, {"sap": None}, r"`published.table_1\[0\].sap` is None, not a number from 0 to 100"),
        (1, 7, {"zdiff": "8.1"}, r"`published.table_1\[7\].zdiff` is '8.1', not a number"),
        (1, 3, {"sap": True}, "sap` is True, not a number"),
        (1, 3, {"data": "x"}, r"data` is 'x', not a text like shapes2d|celeba"),
        (1, 3, {"verified": None}, "verified` is None, not true or false"),
        (1, 3, {"seed": 1}, r"`published.table_1\[3\]` has an unknown `seed`"),
        (
            2,
            0,
            {"accuracy": [71.8]},
            r"`published.table_2.rows\[0\].accuracy` has 1 entries, not 12",
        ),
        (2, 0, {"accuracy": [None] * 12}, r"accuracy\[0\]` is None, not a number"),
        (2, 4, {"verified": "no"}, "verified` is 'no', not true or false"),
        (2, 1, {"verified": True}, "accuracy` is None, not a list"),
    ],
)
def test_a_damaged_row_is_refused_before_anything_is_asked(table, row, change, words):
    document = saved()
    (document["table_1"] if table == 1 else document["table_2"]["rows"])[row] |= change
    save(document)
    for read in (published.table_1, published.table_2, published.read):
        with pytest.raises(results.BadResult, match=f"{published.PATH} is damaged: .*{words}"):
            read()
    ask, asked = script([])
    with pytest.raises(results.BadResult):
        published.confirm(ask)
    assert asked == []


def test_damaged_files_end_in_a_sentence_that_says_how_to_sign_an_edit():
    text = published.PATH.read_text("utf-8")
    for content, words in (
        ("{}", "has no checksum"),
        ("", "is truncated or not JSON"),
        (text[:300], "is truncated or not JSON"),
        (text.replace("81.3", "91.3"), "was altered: it does not fit its checksum"),
    ):
        published.PATH.write_text(content, "utf-8")
        with pytest.raises(results.BadResult, match=words) as caught:
            published.table_1()
        assert str(published.PATH) in str(caught.value) and "--sign" in str(caught.value)
    save({})
    with pytest.raises(results.BadResult, match="is damaged: `published` lacks `note`"):
        published.table_2()


def test_answers_come_line_by_line_from_the_keyboard(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("81.4 0.0417 0.0017\n\n"))  # then its end
    assert published.main([]) == "1 rows are verified; `make figures readme` shows it"
    assert published.table_1()[("beta-vae", 1)]["zdiff"] == 81.4


def test_an_edit_by_hand_counts_once_it_is_signed():
    text = published.PATH.read_text("utf-8")
    published.PATH.write_text(text.replace("81.3", "91.3"), "utf-8")
    with pytest.raises(results.BadResult, match="altered.*replication.show.published --sign"):
        published.main([])
    assert "is in order and signed" in published.main(["--sign"])
    assert published.table_1()[("beta-vae", 1)]["zdiff"] == 91.3
    published.PATH.write_text(text.replace("81.3", '"much"'), "utf-8")
    with pytest.raises(results.BadResult, match="zdiff` is 'much', not a number"):
        published.main(["--sign"])

"""The report: one file that asks for nothing, in good order for every reader, whose numbers and links are right.

python -m pytest tests/test_report.py         # in a real browser: python -m pytest tests/browser
"""

import dataclasses
import html
import html.parser
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from reported import make_report

from replication import notebooks, profiles
from replication.report import page, report
from replication.show import summary

ROOT = Path(__file__).resolve().parents[3]
EMPTY = {"meta", "link", "img", "br", "input", "col", "wbr", "hr"}  # elements without an end


class Page(html.parser.HTMLParser):
    """The elements of a page, (tag, attributes, text so far), in order; open elements must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag not in EMPTY:
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, *tags: str) -> list:
        return [element for element in self.found if element[0] in tags]


@pytest.fixture(scope="module")
def made(data_dir, tmp_path_factory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"), data_dir)


@pytest.fixture(scope="module")
def read(made) -> Page:
    return Page(made.read_text("utf-8"))


# --- the whole page ---


def test_nothing_on_the_page_points_outside_but_links_to_pages_beside_it(read):
    for tag, attributes, text in read.found:
        for name in ("src", "srcset", "data", "action", "poster", "background"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "style":
            assert "url(" not in text and "@import" not in text
        if tag == "a":
            assert re.match(r"#|smoke/notebooks/\w+\.html", attributes["href"])
    policy = next(a["content"] for t, a, _ in read.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_links_lead_to_headings_that_are_there(read, tmp_path):
    ids = [a["id"] for _, a, _ in read.found if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"] for _, a, _ in read.all("a")}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    deep = {link.partition("#")[::2] for link in links if link.startswith("smoke/") and "#" in link}
    assert deep
    for address, fragment in deep:
        name = Path(address).stem
        notebooks.write_html(
            nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4),
            tmp_path / f"{name}.html",
        )
        there = {
            a["id"]
            for a in re.finditer(
                r'<h\d id="(?P<id>[^"]+)"', (tmp_path / f"{name}.html").read_text("utf-8")
            )
        }
        assert unquote(fragment) in {html.unescape(i) for i in there}, (name, fragment)


def test_headings_come_in_order_and_landmarks_have_names(read):
    levels = [int(tag[1]) for tag, _, _ in read.all("h1", "h2", "h3", "h4")]
    contents = levels.pop(0)  # of the table of contents, before the title
    assert contents == 2 and levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    assert [tag for tag, _, _ in read.all("main", "nav", "header")] == ["nav", "main", "header"]
    titled = {a["id"]: text for _, a, text in read.all("h2") if "id" in a}
    assert all(a["aria-labelledby"] in titled for _, a, _ in read.all("section", "nav"))
    assert read.all("a")[0][1]["class"] == "skip" and read.all("html")[0][1]["lang"] == "en"


def test_tables_have_captions_and_scopes_and_pictures_have_words(read):
    assert len(read.all("table")) == len(read.all("caption")) > 8
    assert all(a.get("scope") in ("col", "row", "colgroup") for _, a, _ in read.all("th"))
    assert [a["alt"] for _, a, _ in read.all("img")] == ["a rising line", 'an empty "picture"']


def test_sections_claims_and_formulas_are_all_there(read):
    titles = [text for _, _, text in read.all("h2")]
    assert titles == [
        "Contents", "Claims", "Tables 1 and 2", "Explorer", "The objective", "Figures", "What the paper leaves open",
        "Seeds against the scores themselves", "Compute", "Notebooks", "How to cite", "Licences", "Provenance",
    ]  # fmt: skip
    assert [text for _, _, text in read.all("h3") if text.startswith("Eq.")] == [
        "Eq. 5",
        "Eq. 6",
        "Eq. 7",
    ]
    assert len(read.all("math")) == 5
    assert len([a for _, a, _ in read.all("div") if a.get("class") == "explorer"]) == 3
    words = read.all("body")[0][2]
    assert "These are smoke results" in words and "81.3†" in words and "Apache License 2.0" in words
    assert words.index("These are smoke results") < words.index("DIP-VAE, replicated")


def test_models_of_the_runs_have_their_weights_in_the_page(read):
    assert len([a for _, a, _ in read.all("script") if a.get("class") == "weights"]) == 6 + 6 + 4


def test_without_the_other_data_sets_the_page_is_made_all_the_same(made, data_dir, tmp_path):
    not_shapes = shutil.ignore_patterns("celeba*", "chairs*")
    shutil.copytree(made.parents[1] / "results", tmp_path / "results", ignore=not_shapes)
    words = Page(make_report(tmp_path, data_dir, also=()).read_text("utf-8")).all("body")[0][2]
    assert "Table 1, 2D Shapes" in words and "Table 2" not in words


def test_what_a_profile_has_not_run_is_shown_from_the_largest_smaller_one(tmp_path, capsys):
    """The committed quick results, beside a larger profile that has no faces."""
    (tmp_path / "quick").symlink_to(ROOT / "results" / "quick")
    assert (
        summary.largest("celeba", tmp_path) == "quick"
        and summary.largest("celeba", tmp_path / "none") is None
    )
    folders = str(tmp_path / "paper"), str(tmp_path / "figures" / "paper")
    found = report.from_smaller("paper", *folders, "celeba")
    assert found.conditions.startswith("quick profile: ")
    assert found.results_dir == str(tmp_path / "quick") and found.figures_dir == str(
        tmp_path / "figures" / "quick"
    )
    assert capsys.readouterr().out == "CelebA: what is missing is shown from the quick profile\n"
    assert report.from_smaller("quick", str(tmp_path / "quick"), "", "celeba") is None
    assert (
        report.from_smaller("paper", *folders, "shapes2d", lambda shown: not shown.readings) is None
    )

    shapes = dataclasses.replace(
        report.from_smaller("paper", *folders, "shapes2d"), profile="evening"
    )
    parts = {"shapes2d": shapes, "celeba": found}
    assert report.warnings(parts).startswith("These are evening results: 10 %")
    assert report.warnings(parts).endswith(
        "Stand-in faces (for CelebA): from the quick profile, 0.7 % of the steps."
    )
    assert (
        report.title_of("trade_off_celeba", parts)
        == "Figure 2: the same on stand-in faces (for CelebA), quick profile"
    )
    rows = [text for tag, _, text in Page(report.compute(parts)).found if tag == "td"]
    assert "evening" in rows and "quick" in rows


def test_a_smaller_profile_that_cannot_be_shown_spoils_nothing(tmp_path, capsys):
    shutil.copytree(ROOT / "results" / "quick", tmp_path / "quick")
    path = tmp_path / "quick" / "celeba_beta-vae_2_seed0.json"
    path.write_text(path.read_text().replace('"code": "', '"code": "other'))
    assert report.from_smaller("evening", str(tmp_path / "evening"), "", "celeba") is None
    assert capsys.readouterr().out.startswith("CelebA, quick profile: not shown, the results in ")


def test_a_figure_is_of_the_data_set_that_its_name_says():
    names = (
        "trade_off",
        "trade_off_celeba",
        "traversals_chairs",
        "attributes",
        "table_2",
        "covariance",
    )
    assert [report.drawn_of(name) for name in names] == [
        "shapes2d",
        "celeba",
        "chairs",
        "celeba",
        "celeba",
        "shapes2d",
    ]


# --- its pieces ---


def test_warning_measures_the_way_to_the_paper():
    quick, paper = (profiles.plan(name)[0][0].steps for name in ("quick", "paper"))
    text = report.warning(summary.ProfileResults("quick", [], ""))
    assert (
        f"{100 * quick / paper:.2g} % of the training steps" in text and "smaller network" in text
    )
    assert report.warning(summary.ProfileResults("paper", [], "")) == ""


def test_verdicts_are_counted_by_how_they_begin():
    verdicts = [
        "reproduced",
        "not reproduced",
        "not reproduced",
        "undecided (a model ignores its latents)",
        "needs data (on DRAWN: reproduced)",
    ]
    found = Page(report.verdict_line(pd.DataFrame({"verdict": verdicts}))).all("li")
    assert [(a["class"], text) for _, a, text in found] == [
        ("reproduced", "1 reproduced"), ("not", "2 not reproduced"), ("undecided", "1 undecided"), ("needs", "1 needs data"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "ours, paper, expected",
    [
        ("68.0 ± 20.7", "81.3†", "−13.3"),
        ("0.214", "0.0417", "+0.172"),
        ("0.0075 ± 0.0010", "0.0017†", "+0.0058"),
        ("1.0", "not known", ""),
        ("nan", "2", ""),
    ],
)
def test_difference_by_hand(ours, paper, expected):
    assert page.difference(ours, paper) == expected


def test_compared_table_by_hand():
    frame = pd.DataFrame(
        {"method": ["VAE"], "seeds": [3], "SAP": ["0.214 ± 0.379"], "SAP, paper": ["0.0417†"]}
    )
    cells = [(a["data-name"], text) for _, a, text in Page(page.compared(frame, "T")).all("td")]
    assert cells == [
        ("seeds", "3"),
        ("SAP, published", "0.0417†"),
        ("SAP, obtained", "0.214 ± 0.379"),
        ("SAP, difference", "+0.172"),
    ]
    assert "difference" not in page.compared(frame, "T", comparable=False)


def test_table_shows_numbers_wide_and_texts_as_cards():
    numbers = pd.DataFrame(
        {
            "method": ["a"],
            "p": [0.123456],
            "q": [float("nan")],
            "r": ["1,200"],
            "s": ["3.0†"],
            "t": ["not known"],
            "u": [1.0],
        }
    )
    found = Page(page.table(numbers, "N"))
    assert found.all("table")[0][1]["class"] == "numbers"
    assert [text for _, _, text in found.all("td")] == [
        "0.1235",
        "",
        "1,200",
        "3.0†",
        "not known",
        "1",
    ]
    texts = Page(page.table(pd.DataFrame({"a": ["<b>"], "verdict": ["not reproduced"]}), "T & U"))
    assert (
        texts.all("table")[0][1]["class"] == "cards"
        and texts.all("th")[-1][2] == "<b>"
        and texts.all("td")[0][1]["class"] == "not"
    )
    assert texts.all("caption")[0][2] == "T & U"


def test_marks_become_html_and_the_rest_is_escaped():
    assert page.marked("**a** `b<c` & [d](e_f.html#g)") == (
        '<strong>a</strong> <code>b&lt;c</code> &amp; <a href="e_f.html#g">d</a>'
    )
    assert page.marked("lambda_od of No_Beard") == "lambda_od of No_<wbr>Beard"
    assert page.prose("a\n\nb", "notes") == '<p class="notes">a</p><p class="notes">b</p>'


def test_page_of_a_notebook_and_a_heading_that_it_lacks():
    assert page.page_of("quick", "05_table_1") == "quick/notebooks/05_table_1.html"
    assert page.page_of("quick", "05_table_1", "claims").startswith(
        "quick/notebooks/05_table_1.html#The-paper"
    )
    with pytest.raises(
        ValueError, match="notebook 05_table_1 has no heading with 'nonsense'; it has Table 1"
    ):
        page.page_of("quick", "05_table_1", "nonsense")


def test_navigation_links_neighbours():
    names = ["00_a", "01_b", "02_c"]
    first, second, third = (Page(page.navigation(name, names)) for name in names)
    assert [a["href"] for _, a, _ in second.all("a")] == [
        "../../report.html",
        "00_a.html",
        "02_c.html",
        "00_a.html",
        "01_b.html",
        "02_c.html",
    ]
    assert [a.get("rel") for _, a, _ in first.all("a")[1:2]] == ["next"] and [
        a.get("rel") for _, a, _ in third.all("a")[1:2]
    ] == ["prev"]
    assert [a["href"] for _, a, _ in second.all("a") if "aria-current" in a] == ["01_b.html"]
    with pytest.raises(ValueError, match="03_d is not one of the notebooks: 00_a, 01_b, 02_c"):
        page.navigation("03_d", names)


def test_diverged_runs_are_counted_and_named(made, tmp_path):
    (tmp_path / "beta-vae_4_seed1.diverged").write_text('{"message": "the loss is nan at step 7"}')
    shown = summary.ProfileResults(
        "smoke", [{"data": {"name": "2D Shapes"}, "minutes": 1.25, "device": "cpu: A", "versions": {"torch": "2"}}] * 2, "",
        results_dir=str(tmp_path),
    )  # fmt: skip
    words = Page(report.compute({"shapes2d": shown})).found
    told = " ".join(text for tag, _, text in words if tag in ("td", "p"))
    assert (
        "2.5" in told
        and "not made again: 1" in told
        and "the loss is nan at step 7" in told
        and "cpu: A" in told
    )

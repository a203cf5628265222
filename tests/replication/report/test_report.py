"""The report: one file that asks for nothing, in good order, whose numbers and links are right.

python -m pytest tests/replication/report     # in a real browser: python -m pytest tests/browser
"""

import base64
import dataclasses
import hashlib
import html
import html.parser
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import numpy as np
import pandas as pd
import pytest
from reported import make_report, results_of, tiny_smoke

from dipvae_src import zdiff
from replication import notebooks, profiles, results
from replication.report import explorer, page, report
from replication.show import claims, summary, wording

ROOT = Path(__file__).resolve().parents[3]
EMPTY = {"meta", "link", "img", "br", "input", "col", "wbr", "hr"}  # elements without an end
EVIL = ('[go](x"onmouseover="alert(1))', "<script>alert(1)</script>", '"><img src=x onerror=a>')


class Page(html.parser.HTMLParser):
    """The elements of a page, (tag, attributes, text so far), in order; closed in order too."""

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

    def texts(self, *tags: str) -> list[str]:
        return [text.strip() for _, _, text in self.all(*tags)]


@pytest.fixture(scope="module")
def read(made) -> Page:
    return Page(made.read_text("utf-8"))


# --- the whole page ---


def test_nothing_on_the_page_points_outside_but_links_to_pages_beside_it(read):
    for tag, attributes, text in read.found:
        for name in ("src", "srcset", "data", "action", "poster", "background"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "style":
            assert "url(" not in text and "@import" not in text
        if tag == "a":
            assert re.match(r"#|smoke/notebooks/\w+\.html", attributes["href"])


def policy_of(read: Page) -> dict[str, str]:
    found = [a["content"] for _, a, _ in read.all("meta") if "http-equiv" in a]
    assert len(found) == 1 and "http" not in found[0]
    return dict(part.strip().split(" ", 1) for part in found[0].split(";"))


def test_the_policy_allows_its_own_script_and_style_alone(read):
    policy = policy_of(read)
    assert policy["default-src"] == "'none'" and policy["img-src"] == "data:"
    (script,) = (text for _, a, text in read.all("script") if "type" not in a)
    (style,) = (text for _, _, text in read.all("style"))
    for name, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[name] == f"'sha256-{digest}'"
    assert not [a for _, a, _ in read.found if "style" in a]


def test_links_lead_to_headings_that_are_there(read, tmp_path):
    ids = [a["id"] for _, a, _ in read.found if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"] for _, a, _ in read.all("a")}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    deep = {link.partition("#")[::2] for link in links if link.startswith("smoke/") and "#" in link}
    assert deep
    for address, fragment in deep:
        name = Path(address).stem
        document = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        notebooks.write_html(document, tmp_path / f"{name}.html")
        text = (tmp_path / f"{name}.html").read_text("utf-8")
        there = {html.unescape(found) for found in re.findall(r'<h\d id="([^"]+)"', text)}
        assert unquote(fragment) in there, (name, fragment)


def test_headings_come_in_order_and_landmarks_have_names(read):
    levels = [int(tag[1]) for tag, _, _ in read.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    assert [tag for tag, _, _ in read.all("main", "nav", "header")] == ["main", "header", "nav"]
    titled = {a["id"]: text for _, a, text in read.all("h2") if "id" in a}
    assert all(a["aria-labelledby"] in titled for _, a, _ in read.all("section"))
    assert read.all("nav")[0][1]["aria-label"] == "Contents"
    assert read.all("a")[0][1]["class"] == "skip" and read.all("html")[0][1]["lang"] == "en"


def test_no_heading_and_no_caption_comes_twice(read):
    told = read.texts("h1", "h2", "h3", "h4", "caption")
    assert [text for text in told if told.count(text) > 1] == []


def test_tables_have_captions_and_scopes_and_pictures_have_words(read):
    assert len(read.all("table")) == len(read.all("caption")) > 8
    assert all(a.get("scope") in ("col", "row", "colgroup") for _, a, _ in read.all("th"))
    assert [a["alt"] for _, a, _ in read.all("img")] == ["a rising line", 'an empty "picture"']


def test_sections_verdicts_and_formulas_are_all_there(read):
    assert read.texts("h2") == [
        "Verdicts", "Replication report", "Explorer", "Tables", "A question of our own", "Figures",
        "Open questions", "Technical",
    ]  # fmt: skip
    assert read.texts("h3") == [
        "Rules and differences", "Scope", "Method", "Results", "What was easy",
        "What was difficult", "What the authors were asked", "The objective",
        "CelebA: Tables 1 and 2", "Latent traversals", "What another reading does",
        "Runs, machines, data and code", "Notebooks", "How to cite", "Licences",
    ]  # fmt: skip
    assert len(read.all("math")) == 3
    assert all("id" in a for _, a, _ in read.all("section"))
    tabs = [a["data-title"] for _, a, _ in read.all("div") if a.get("class") == "explorer"]
    assert len(tabs) == 3 and "2D Shapes" in tabs
    words = read.all("body")[0][2]
    assert "These are smoke results" in words and "Apache License 2.0" in words
    assert words.index("DIP-VAE, replicated") < words.index("These are smoke results")


def test_models_of_the_runs_have_their_weights_in_the_page(read):
    weights = [a for _, a, _ in read.all("script") if a.get("class") == "weights"]
    rows = [len(data_set.rows) for data_set in profiles.DATA_SETS.values()]
    assert len(weights) == sum(rows)  # all decoders of the smoke profile are small
    assert "moves a pixel of the test images by at most" in read.all("body")[0][2]


def test_without_the_other_data_sets_the_page_is_made_all_the_same(made, data_dir, tmp_path):
    not_shapes = shutil.ignore_patterns("celeba*", "chairs*")
    shutil.copytree(made.parents[1] / "results", tmp_path / "results", ignore=not_shapes)
    words = Page(make_report(tmp_path, data_dir, also=()).read_text("utf-8")).all("body")[0][2]
    assert "Table 1, 2D Shapes" in words and "Table 2" not in words


# --- text from results ---


def harmless(text: str) -> Page:
    """No text of EVIL came in as a tag, an attribute or a link."""
    found = Page(text)
    assert not [e for e in found.found if e[0] == "script" and "alert" in e[2]]
    assert not [e for e in found.found if any(name.startswith("on") for name in e[1])]
    assert not [a for _, a, _ in found.all("a") if not re.match(r"#|\w+/notebooks/", a["href"])]
    return found


@pytest.mark.parametrize("evil", EVIL)
def test_text_from_results_stays_text_in_the_report(made, evil, monkeypatch):
    parts = results_of(made)
    for shown in parts.values():
        for run in shown.runs:
            run["device"] = run["data"]["name"] = evil
            run["data"]["source"] = "stand-in"
            run["versions"] = {evil: evil}
    asked = claims.Claim(evil, evil, lambda shown: [claims.Condition(evil, np.ones(1), "sap")])
    monkeypatch.setattr(claims, "CLAIMS", (asked,))
    with tiny_smoke():
        top, sections = report.written(parts, parts["shapes2d"], parts["shapes2d"])
    found = harmless(page.whole("T", top, sections))
    cells = [text for text in found.texts("td") if text == evil]
    assert len(cells) >= 4 and evil in found.texts("th") and evil in found.texts("a")
    assert evil in [a.get("data-title") for _, a, _ in found.found]
    assert any(evil in text for text in found.texts("small"))


@pytest.mark.parametrize("evil", EVIL)
def test_text_from_results_stays_text_in_the_pages_of_notebooks(evil, tmp_path):
    text = wording.markdown(pd.DataFrame({evil: [evil]})) + f"\n\n{wording.escaped(evil)}"
    output = nbformat.v4.new_output("display_data", data={"text/markdown": text})
    cell = nbformat.v4.new_code_cell("show()", outputs=[output])
    document = nbformat.v4.new_notebook(cells=[cell])
    notebooks.write_html(document, tmp_path / "05_table_1.html")
    written = (tmp_path / "05_table_1.html").read_text("utf-8")
    body = written[written.index('class="jp-OutputArea') :]
    for tag in ("td", "th", "p"):
        assert html.unescape(re.search(rf"<{tag}>(.*?)</{tag}>", body)[1]) == evil


def test_a_page_of_a_notebook_runs_nothing_and_fetches_nothing(tmp_path):
    raw = {"text/html": "<b>a</b><script>alert(1)</script><ScRiPt src='//x/y.js'></sCript >"}
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("display_data", raw)])
    document = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("$x^2$")])
    notebooks.write_html(document, tmp_path / "05_table_1.html")
    text = (tmp_path / "05_table_1.html").read_text("utf-8")
    assert "<b>a</b>" in text and "<math" in text and not re.search("<script", text, re.IGNORECASE)
    assert not re.search(r"""(src|<link[^>]*href)=["'](https?:)?//""", text)
    meta = re.search(
        r'<head>\s*<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text
    )
    policy = html.unescape(meta[1])
    assert "default-src 'none'" in policy and "script-src 'none'" in policy and "http" not in policy


def test_marks_become_html_and_the_rest_is_escaped():
    assert page.marked("**a** `b<c` & [d](e_f.html#g)") == (
        "<strong>a</strong> <code>b&lt;c</code> &amp; [d](e_<wbr>f.html#g)"
    )
    assert page.marked("lambda_od of No_Beard") == "lambda_od of No_<wbr>Beard"
    assert page.link("<a>", 'x"y') == '<a href="x&#34;y">&lt;a&gt;</a>'
    paragraphs = Page(page.PIECES.prose("a\n\nb", "notes")).all("p")
    assert [(a["class"], text) for _, a, text in paragraphs] == [("notes", "a"), ("notes", "b")]


# --- what it says ---


def test_the_words_on_z_diff_are_what_the_code_does(monkeypatch, read):
    used = {}

    class Stop(Exception):
        pass

    def classifier(**arguments):
        used.update(arguments)
        raise Stop

    monkeypatch.setattr(zdiff, "LinearSVC", classifier)
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=(200, 2))
    with pytest.raises(Stop):
        zdiff.z_diff_score(codes + rng.normal(size=(200, 2)), codes, train=20, test=10)
    (said,) = (text for text in read.texts("td") if text.startswith("a linear support vector"))
    assert f"C {used['C']:g}" in said and f"{used['loss'].replace('_', ' ')} loss" in said
    assert f"{used['penalty']} penalty" in said
    assert used["multi_class"] == "ovr" and "one against the rest" in said
    assert f"over {zdiff.z_diff_score.__kwdefaults__['pairs']} pairs" in said
    assert "logistic" not in read.all("body")[0][2]


def test_third_moments_are_told_as_the_runs_have_them(made, no_explorers):
    parts = results_of(made)
    shown = parts["shapes2d"]

    def told(rows: float, others: float) -> str:
        for runs, weight in ((shown.results, rows), (shown.readings, others)):
            for run in runs:
                run["settings"] |= {"lambda_3": weight}
        with tiny_smoke():
            found = Page(report.written(parts, shown)[1]).texts("td")
        return next(text for text in found if "Eq. 7 alone" in text or "third central" in text)

    assert told(0.0, 0.0) == "left out: Eq. 7 alone"
    assert told(0.0, 200.0).startswith(
        "left out: Eq. 7 alone; as another reading, 200 times the l2"
    )
    assert told(70.0, 0.0).startswith("70 times the l2 norm")


@pytest.mark.parametrize(
    "text, obtained, kind, why",
    [
        (
            "reproduced, at 60 steps", "E: ...", "reproduced",
            "E: 1.100 (0.852 to 1.348, n = 3)",
        ),
        (
            "not reproduced, at 60 steps", "D: ...", "not reproduced",
            "D: -1.100 (-1.348 to -0.852, n = 3)",
        ),
        ("undecided (M is not run), at 60 steps", "", "undecided", "M is not run"),
        (
            "undecided (about 9 seeds would decide it), at 60 steps", "B: ...; C: ...", "undecided",
            "B: 0.500 (-1.984 to 2.984, n = 3); 1 more condition; about 9 seeds would decide it",
        ),
        (
            "needs CelebA (on blocks (for CelebA): undecided (one seed)), at 60 steps", "",
            "needs CelebA", "on blocks (for CelebA): undecided (one seed)",
        ),
        (
            "needs CelebA (on blocks (for CelebA): not reproduced), at 60 steps", "D: ...",
            "needs CelebA",
            "D: -1.100 (-1.348 to -0.852, n = 3); on blocks (for CelebA): not reproduced",
        ),
    ],
)  # fmt: skip
def test_a_verdict_is_told_with_its_reason(monkeypatch, text, obtained, kind, why):
    row = {"claim": "X", "rule": "Y", "obtained: mean difference": obtained}
    row |= {"seeds": "3", "verdict": text}
    monkeypatch.setattr(claims, "decide", lambda claim, shown: row)
    values = {"B": [0.5, 1.5, -0.5], "C": [0.0, 1.0, -1.0], "D": [-1.0, -1.1, -1.2]}
    values["E"] = [1.0, 1.1, 1.2]
    conditions = [claims.Condition(name, np.array(own), "sap") for name, own in values.items()]
    shown = summary.ProfileResults("quick", [], "")
    found = report.judged(claims.Claim("X", "Y", lambda shown: conditions), shown)
    assert found == {"claim": "X", "kind": kind, "seeds": "3", "why": why, "of": shown}


def judged(kind: str, claim: str = "DIP does", seeds: str = "3", hangs: bool = False) -> dict:
    return {"kind": kind, "claim": claim, "seeds": seeds, "why": "", "hangs": hangs}


def test_what_was_found_is_told_as_agreeing_and_disagreeing():
    made = [
        judged("reproduced"), judged("undecided"), judged("not reproduced", "The loss falls", "1"),
        judged("reproduced", "On X, y: z", hangs=True), judged("undecided"), judged("needs CelebA"),
    ]  # fmt: skip
    assert report.told(made) == (
        "agree with the paper that DIP does (3 seeds), and that on X, y (3 seeds; not if SAP "
        "counts latents that are off); disagree that the loss falls (1 seed); "
        "its other claims: 2 undecided, 1 needs CelebA"
    )
    assert report.told(made[2:3]) == "disagree with the paper that the loss falls (1 seed)"
    assert report.told(made[1:2]) == "decide none of the paper's claims: 1 undecided"


def test_the_glance_tells_verdicts(made, monkeypatch, no_explorers):
    kinds = ["reproduced", "not reproduced", "not reproduced", "undecided", "needs CelebA"]
    verdicts = [judged(kind) | {"of": shown_shapes(made)} for kind in kinds]
    monkeypatch.setattr(report, "asked", lambda parts: verdicts)
    parts = results_of(made)
    with tiny_smoke():
        top, sections = report.written(parts, parts["shapes2d"])
    first = Page(top).texts("p")[1]
    assert f"these runs {report.told(verdicts)}. Against the VAE" in first
    assert re.search(r"After \d+ steps on rendered 2D Shapes, these", first)
    listed = [a["class"] for _, a, text in Page(sections).all("strong") if text in kinds]
    assert listed == ["reproduced", "not", "not", "undecided", "needs"]


@pytest.fixture
def no_explorers(monkeypatch):
    """They take the most time of a page."""
    monkeypatch.setattr(explorer, "models", lambda shown: [])


def shown_shapes(made) -> summary.ProfileResults:
    return results_of(made)["shapes2d"]


def test_longer_training_is_a_section_only_where_it_was_run(made, read, no_explorers):
    assert "Longer training" not in read.texts("h2")
    parts = results_of(made)
    longer = shown_shapes(made)
    for run in longer.runs:
        run["settings"] |= {"steps": 120}
    longer = dataclasses.replace(longer, planned=99)
    with tiny_smoke():
        found = Page(report.written(parts, parts["shapes2d"], longer)[1])
    assert "Longer training" in found.texts("h2")
    words = " ".join(found.texts("p", "caption"))
    assert "What 10 times the steps do" in words and f"{len(longer.runs)} of its 99 runs" in words


def test_the_one_page_report_has_its_numbers_from_results(made, read):
    text = " ".join(text for _, a, text in read.all("div") if a.get("class") == "one-page")
    first = shown_shapes(made).results[0]["settings"]
    for words in (
        f"width {first['width']}, {first['latents']} latents", f"{first['steps']} steps",
        f"{len(claims.CLAIMS)} claims of the paper", "9 of 12", "nobody has written to them",
        f"0 of {len(shown_shapes(made).runs)} runs diverged",
    ):  # fmt: skip
        assert words in text


def test_warning_measures_the_way_to_the_paper():
    quick, paper = (profiles.plan(name)[0][0].steps for name in ("quick", "paper"))
    text = report.warning(summary.ProfileResults("quick", [], ""))
    assert f"{100 * quick / paper:.2g} % of our paper profile's training steps" in text
    smoke = report.warning(summary.ProfileResults("smoke", [], ""))
    assert "smaller network" in smoke
    assert report.warning(summary.ProfileResults("paper", [], "")) == ""


def test_the_citation_has_year_address_and_hash(made, read, monkeypatch, tmp_path):
    shown = results_of(made)["shapes2d"]
    (tmp_path / "LICENSE").write_text("MIT License\n\nCopyright (c) 2031 Ada & Bob\n")
    project = tmp_path / "pyproject.toml"
    project.write_text(
        "[project]\nname = 'a'\n[project.urls]\nRepository = 'https://example.org/a'\n"
    )
    monkeypatch.setattr(report, "ROOT", tmp_path)
    cited = {"year": "2031", "authors": "Ada & Bob", "address": "https://example.org/a"}
    assert report.citation() == cited
    project.write_text("[project]\nname = 'a'\n")
    assert report.citation() == cited | {"address": ""}
    ours = read.texts("pre")[1]
    assert f"hash of the code {shown.source('').rsplit(' ', 1)[1]}" in ours


def test_diverged_runs_are_counted_and_named(made, tmp_path, no_explorers):
    note = {"message": "the loss is nan at step 7"}
    results.write_json(tmp_path / "beta-vae_4_seed1.diverged", note)
    (tmp_path / "beta-vae_4_seed2.diverged").write_text("[")
    shown = dataclasses.replace(shown_shapes(made), results_dir=str(tmp_path))
    shown = dataclasses.replace(shown, results=[r | {"picture": None} for r in shown.results])
    with tiny_smoke():
        found = Page(report.written({"shapes2d": shown}, shown)[1])
    told = " ".join(found.texts("td", "p"))
    assert "not made again: 2" in told and "the loss is nan at step 7" in told
    assert "its note cannot be read; delete beta-vae_4_seed2.diverged" in told
    assert shown.results[0]["device"] in told and str(len(shown.runs)) in found.texts("td")


def test_what_a_profile_has_not_run_is_shown_from_the_largest_smaller_one(monkeypatch, capsys):
    names = list(profiles.PROFILES)
    there = {names[0], names[1]}
    made = summary.ProfileResults("quick", [], "")

    def load(profile, results_dir, figures_dir, data):
        return dataclasses.replace(made, profile=profile, data=data, results_dir=results_dir)

    monkeypatch.setattr(summary, "complete", lambda profile, data, folder: profile in there)
    monkeypatch.setattr(summary, "load", load)
    found = report.from_smaller(names[-1], f"runs/{names[-1]}", "", "celeba")
    assert (found.profile, found.results_dir) == (names[1], f"runs/{names[1]}")
    said = f"CelebA: what is missing is shown from the {names[1]} profile\n"
    assert capsys.readouterr().out == said
    assert report.from_smaller(names[1], f"runs/{names[1]}", "", "celeba") is None
    assert report.from_smaller(names[-1], "runs/x", "", "celeba", lambda shown: False) is None

    def broken(*arguments, **options):
        raise results.BadResult("x.json is cut")

    monkeypatch.setattr(summary, "load", broken)
    assert report.from_smaller(names[-1], "runs/x", "", "celeba") is None
    assert f"CelebA, {names[1]} profile: not shown, x.json is cut" in capsys.readouterr().out


def test_what_is_from_a_smaller_profile_says_so(made, no_explorers):
    parts = results_of(made)
    faces = parts["celeba"]
    parts = {data: dataclasses.replace(shown, profile="paper") for data, shown in parts.items()}
    parts["celeba"] = faces
    name = faces.results[0]["data"]["name"]
    with tiny_smoke():
        top, sections = report.written(parts, parts["shapes2d"])
    warning = Page(top).texts("p")[-1]
    assert f"{name[0].upper()}{name[1:]}: from the smoke profile, " in warning
    assert warning.endswith(" % of the steps.")
    rows = Page(sections).texts("td")
    assert (
        "paper" in rows and "smoke" in rows and report.named(faces, parts).endswith("smoke profile")
    )


def test_a_figure_is_of_the_data_set_that_its_name_says():
    of = {
        "trade_off": "shapes2d", "trade_off_celeba": "celeba", "traversals_chairs": "chairs",
        "attributes": "celeba", "table_2": "celeba", "covariance": "shapes2d",
    }  # fmt: skip
    assert {name: report.drawn_of(name) for name in of} == of


# --- its pieces ---


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
    cells = {"method": "VAE", "seeds": 3, "SAP": "0.214 ± 0.379", "SAP, paper": "0.0417†"}
    frame = pd.DataFrame([cells])
    found = Page(page.compared(frame, "T"))
    assert [(a["data-name"], a["class"], text) for _, a, text in found.all("td")] == [
        ("seeds", "number wide", "3"),
        ("SAP, published", "number group", "0.0417†"),
        ("SAP, obtained", "number", "0.214 ± 0.379"),
        ("SAP, difference", "number", "+0.172"),
    ]
    heads = [(a.get("colspan"), a.get("rowspan"), text) for _, a, text in found.all("th")]
    assert heads == [
        (None, "2", "method"), (None, "2", "seeds"), ("3", None, "SAP"), (None, None, "published"),
        (None, None, "obtained"), (None, None, "difference"), (None, None, "VAE"),
    ]  # fmt: skip
    assert [a["span"] for _, a, _ in found.all("colgroup")] == ["1", "1", "3"]
    assert "difference" not in page.compared(frame, "T", comparable=False)


def test_table_shows_numbers_wide_and_texts_as_cards():
    row = {"method": "a", "p": 0.123456, "q": np.nan, "r": "1,200", "s": "3.0†", "t": "not known"}
    found = Page(page.table(pd.DataFrame([row | {"u": 1.0}]), "N", kind="numbers"))
    assert found.all("table")[0][1]["class"] == "numbers"
    assert found.texts("td") == ["0.1235", "", "1,200", "3.0†", "not known", "1"]
    assert {a["class"] for _, a, _ in found.all("td")} == {"number"}
    texts = Page(page.table(pd.DataFrame({"a": ["<b>"], "verdict": ["undecided, at 5"]}), "T & U"))
    assert texts.all("table")[0][1]["class"] == "cards"
    assert texts.all("th")[-1][2] == "<b>" and texts.all("td")[0][1]["class"] == "undecided"
    assert texts.texts("caption") == ["T & U"]


def test_page_of_a_notebook_and_a_heading_that_it_lacks():
    assert page.page_of("quick", "05_table_1") == "quick/notebooks/05_table_1.html"
    address = page.page_of("quick", "05_table_1", "claims")
    assert address.startswith("quick/notebooks/05_table_1.html#The-paper")
    said = "notebook 05_table_1 has no heading with 'nonsense'; it has Table 1"
    with pytest.raises(ValueError, match=said):
        page.page_of("quick", "05_table_1", "nonsense")


def test_navigation_links_neighbours():
    names = ["00_a", "01_b", "02_c"]
    first, second, third = (Page(page.navigation(name, names)) for name in names)
    hrefs = [a["href"] for _, a, _ in second.all("a")]
    all_of_them = [f"{name}.html" for name in names]
    assert hrefs == ["../../report.html", "00_a.html", "02_c.html", *all_of_them]
    assert [a.get("rel") for _, a, _ in first.all("a")[1:2]] == ["next"]
    assert [a.get("rel") for _, a, _ in third.all("a")[1:2]] == ["prev"]
    assert [a["href"] for _, a, _ in second.all("a") if "aria-current" in a] == ["01_b.html"]

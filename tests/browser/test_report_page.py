"""The report as a reader meets it: offline, on a phone, in the dark, by keyboard, on paper."""

import pytest

CONTRAST = """() => {
  // WCAG: (lighter + 0.05) / (darker + 0.05) of relative luminances; each text that is seen, on the
  // nearest opaque ground.
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor, parts = numbers(colour);
      if (parts.length === 3 || parts[3] === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const hidden = element.closest("script, style, noscript, option");
    const unseen = hidden || !element.getClientRects().length;
    if (!walker.currentNode.textContent.trim() || unseen) continue;
    const pair = [light(getComputedStyle(element).color), light(ground(element))];
    const [a, b] = pair.sort((x, y) => y - x), text = walker.currentNode.textContent.slice(0, 40);
    found.push({ ratio: (a + 0.05) / (b + 0.05), text, tag: element.tagName });
  }
  return found;
}"""


def unfolded(page):
    """With all that is behind a heading in sight."""
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    return page


def test_it_opens_offline_in_silence_and_asks_for_nothing_but_itself(open_page, report_page):
    opened = open_page(report_page)
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [report_page.as_uri()]


def test_a_page_that_asks_for_more_would_be_seen(open_page, tmp_path):
    """The test above can fail: a picture from the web is asked for where no policy refuses it."""
    (tmp_path / "bad.html").write_text('<img src="https://example.org/a.png">')
    opened = open_page(tmp_path / "bad.html")
    opened.page.wait_for_timeout(200)
    assert "https://example.org/a.png" in opened.asked and opened.said


def test_formulas_are_drawn(open_page, report_page):
    page = unfolded(open_page(report_page).page)
    boxes = [formula.bounding_box() for formula in page.locator("math").all()]
    assert len(boxes) == 3 and all(box["width"] > 50 and box["height"] > 12 for box in boxes)


def test_every_data_set_has_a_tab_whose_explorer_draws_its_models(open_page, report_page):
    opened = open_page(report_page)
    page = opened.page
    spread = """(c) => new Set(c.getContext('2d').getImageData(0, 0, 64, 64).data
      .filter((_, i) => i % 4 < 3)).size"""
    tabs = page.get_by_role("tab")
    assert tabs.count() == page.locator(".explorer").count() == 3
    tabs.first.focus()
    for i in range(3):
        assert tabs.nth(i).get_attribute("aria-selected") == "true"
        shown = page.locator(".explorer:visible")
        assert shown.count() == 1 and shown.get_attribute("data-title") == tabs.nth(i).inner_text()
        assert page.get_by_role("tabpanel", name=tabs.nth(i).inner_text()).count() == 1
        opened.settle()
        canvases = shown.locator("canvas").all()
        assert len(canvases) == 4 and all(canvas.evaluate(spread) > 1 for canvas in canvases)
        page.keyboard.press("ArrowRight")
        opened.settle()
    assert tabs.first.get_attribute("aria-selected") == "true" and opened.said == []


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nothing_makes_the_page_scroll_sideways(open_page, report_page, width):
    page = open_page(report_page, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for region in page.locator(".scroll, .card").all():
        box = region.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_on_a_phone_a_row_is_a_card_that_names_its_cells(open_page, report_page):
    page = open_page(report_page, width=320).page
    table = page.locator("table.compared").first
    assert table.evaluate("(t) => t.scrollWidth <= t.parentElement.clientWidth")
    cell = table.locator("td").nth(1)
    assert "Z-diff (%), published" in cell.evaluate(
        "(c) => getComputedStyle(c, '::before').content"
    )


def test_what_is_wider_than_its_frame_says_so(open_page, report_page):
    page = unfolded(open_page(report_page, width=390).page)
    page.wait_for_timeout(200)  # the page looks again where a frame's size has changed
    said = "(e) => getComputedStyle(e, '::before').content.includes('scroll sideways')"
    told = [e.evaluate(said) for e in page.locator(".scroll, .card").all()]
    wider = "(e) => e.scrollWidth > e.clientWidth"
    assert told == [e.evaluate(wider) for e in page.locator(".scroll, .card").all()]
    assert 0 < sum(told) < len(told)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(open_page, report_page, scheme):
    page = unfolded(open_page(report_page, color_scheme=scheme).page)
    texts = page.evaluate(CONTRAST)
    assert len(texts) > 300
    assert [text for text in texts if text["ratio"] < 4.5] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    card = page.locator(".chart").first.evaluate("(c) => getComputedStyle(c).backgroundColor")
    assert card == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[scheme]


def test_by_keyboard_the_first_stop_skips_to_the_content(open_page, report_page):
    page = open_page(report_page).page
    page.keyboard.press("Tab")
    link = page.locator(":focus")
    assert link.inner_text() == "Skip to the content" and link.bounding_box()["x"] >= 0
    assert link.evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_everything_that_takes_the_keyboard_has_a_name(open_page, report_page):
    unnamed = open_page(report_page).page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")]
          .concat([...document.querySelectorAll("canvas")])
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim()
            || [...(e.labels ?? [])].some((l) => l.textContent.trim())))
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []


def test_print_keeps_tables_and_pictures_whole(open_page, report_page):
    paper = 718  # pixels: A4 less its margins, at 96 a inch
    page = open_page(report_page, width=paper).page
    page.emulate_media(media="print")
    for table in page.locator("table").all():
        box = table.bounding_box()
        assert box and box["height"] > 20 and box["x"] + box["width"] <= paper + 1, table.locator(
            "caption"
        ).inner_text()
    assert page.locator(".card img").first.bounding_box()["width"] > 300
    assert (
        page.locator(".gallery canvas").first.is_visible()
        and not page.locator("nav.contents").is_visible()
    )
    assert page.pdf(format="A4").startswith(b"%PDF")

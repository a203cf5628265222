"""The explorer in use: pixels equal PyTorch's, and sliders, buttons and keys do what they say."""

from dataclasses import replace

import numpy as np
import pytest
from reported import shown_models

from conftest import write_page
from replication.report.explorer import SIDE, block, chosen, decode, eight_bits, frames_of

NEAR = 1  # of 255: the browser's rounding
PIXELS = """(canvas) => {
  const copy = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  return [...copy.getImageData(0, 0, 64, 64).data];
}"""


def pixels(page, name: str, place: int) -> np.ndarray:
    """What one of an explorer's four pictures shows, (64, 64, 3), 0 to 255."""
    shown = page.locator(f"#explorer-{name} canvas").nth(place).evaluate(PIXELS)
    return np.array(shown).reshape(SIDE, SIDE, 4)[..., :3]


def expected(model, z: np.ndarray) -> np.ndarray:
    """The same by PyTorch, of the weights in eight bits; shapes are drawn dark on white."""
    coarse = {}
    for name, array in model.weights.items():
        scales, whole = eight_bits(array)
        coarse[name] = (scales[:, None] * whole).reshape(array.shape)
    drawn = 255 * decode(model.settings, coarse, z[None])
    return drawn if drawn.ndim == 3 else (255 - drawn)[..., None].repeat(3, axis=2)


def is_shade(page, shade: int) -> bool:
    """Whether the fourth picture of the shapes is of one shade, but for what WebP loses."""
    return np.abs(pixels(page, "shapes", 3) - (255 - shade)).max() <= 1


def slide(opened, name: str, k: int, value: float) -> None:
    slider = opened.page.locator(f"#latent-{name}-{k}")
    slider.evaluate(
        """(s, value) => {
          s.value = value;
          s.dispatchEvent(new Event('input', { bubbles: true }));
        }""",
        value,
    )
    opened.settle()


@pytest.fixture
def opened(open_page, explorer_page):
    return open_page(explorer_page[0])


@pytest.mark.parametrize("name, which", [("shapes", 1), ("colours", 2)])
def test_pixels_are_pytorchs_at_the_start_and_after_moving(opened, explorer_page, name, which):
    shown, _ = explorer_page[which]
    live = [(p, m) for p, m in enumerate(chosen(shown)) if shown[m].weights]
    assert len(live) >= 3
    for p, m in live:
        want = expected(shown[m], shown[m].mu[0])
        assert (
            want.min() < 60
            and want.max() > 200
            and np.abs(pixels(opened.page, name, p) - want).max() <= NEAR
        )
    slide(opened, name, 1, 1.5)
    slide(opened, name, 2, -2.5)
    for p, m in live:
        z = shown[m].mu[0].copy()
        z[shown[m].rows[1]["latent"]], z[shown[m].rows[2]["latent"]] = 1.5, -2.5
        assert np.abs(pixels(opened.page, name, p) - expected(shown[m], z)).max() <= NEAR
    assert opened.said == []


def test_another_test_image_starts_from_its_own_inference(opened, explorer_page):
    shown, _ = explorer_page[2]
    opened.page.get_by_label("Test image 8").nth(1).check()
    opened.settle()
    for p, m in enumerate(chosen(shown)):
        assert (
            np.abs(pixels(opened.page, "colours", p) - expected(shown[m], shown[m].mu[7])).max()
            <= NEAR
        )


def test_another_model_takes_one_place_and_brings_its_labels(opened, explorer_page):
    shown, _ = explorer_page[1]
    before = [pixels(opened.page, "shapes", p) for p in range(4)]
    opened.page.get_by_label("Model 2").first.select_option("3")
    opened.settle()
    after = [pixels(opened.page, "shapes", p) for p in range(4)]
    assert np.abs(after[1] - expected(shown[3], shown[3].mu[0])).max() <= NEAR
    assert all((before[p] == after[p]).all() for p in (0, 2, 3))
    drawn = opened.page.locator("#explorer-shapes canvas").nth(1)
    assert drawn.get_attribute("aria-label") == f"What {shown[3].label} draws"


def test_sliders_are_labelled_with_kl_and_factor_most_used_first(opened):
    uses = opened.page.locator("#latent-shapes-0-use li").all_inner_texts()
    assert uses == ["KL 6.00, factor 0.5"] * 4
    assert opened.page.locator("#explorer-shapes .latent").count() == 6
    folded = opened.page.locator("#explorer-colours details .latent")
    assert folded.count() == 6 and not folded.first.is_visible()


def test_reset_goes_back_and_random_moves_all_models_alike(opened, explorer_page):
    page, (shown, _) = opened.page, explorer_page[2]
    start = [pixels(page, "colours", p) for p in range(4)]
    page.locator("#explorer-colours .random").click()
    opened.settle()
    values = [float(text) for text in page.locator("#explorer-colours .value").all_text_contents()]
    assert len(set(values)) > 6 and max(map(abs, values)) <= 2.5
    assert all(np.abs(pixels(page, "colours", p) - start[p]).max() > 20 for p in range(4))
    z = np.array(
        [
            page.evaluate(f"document.querySelector('#explorer-colours').explorer.values[{k}]")
            for k in range(12)
        ],
        np.float32,
    )[::-1].copy()  # used in reverse order
    for p, m in enumerate(chosen(shown)):
        assert np.abs(pixels(page, "colours", p) - expected(shown[m], z)).max() <= NEAR
    page.locator("#explorer-colours .reset").click()
    opened.settle()
    assert all((pixels(page, "colours", p) == start[p]).all() for p in range(4))
    assert set(page.locator("#explorer-colours .value").all_text_contents()) == {"as inferred"}


def test_play_moves_one_latent_back_and_forth_until_stopped(opened):
    page, button = opened.page, opened.page.get_by_label("Play latent 2").first
    button.click()
    seen = page.evaluate(
        """() => new Promise((done) => { const seen = []; const look = () => {
          seen.push([...document.querySelector('#explorer-shapes').explorer.values]);
          performance.now() - began < 5500 ? requestAnimationFrame(look) : done(seen); };
          const began = performance.now(); look(); })"""
    )
    moved = [values[1] for values in seen if values[1] is not None]
    assert min(moved) < -1.5 and max(moved) > 1.5 and len(set(moved)) > 10
    assert all(values[k] is None for values in seen for k in (0, 2, 3, 4, 5))
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    opened.settle()
    assert button.get_attribute("aria-pressed") == "false"
    still = page.evaluate("document.querySelector('#explorer-shapes').explorer.values[1]")
    page.wait_for_timeout(150)
    assert page.evaluate("document.querySelector('#explorer-shapes').explorer.values[1]") == still


def test_by_keyboard_a_slider_is_reached_and_moved(opened):
    page, before = opened.page, pixels(opened.page, "shapes", 0)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "range":
            break
    assert page.evaluate("document.activeElement.id") == "latent-shapes-0"
    start = float(page.evaluate("document.activeElement.value"))
    for _ in range(8):
        page.keyboard.press("ArrowRight" if start < 2 else "ArrowLeft")
    opened.settle()
    value = float(page.evaluate("document.activeElement.value"))
    assert abs(value - start) == pytest.approx(0.4, abs=0.06)
    assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == f"{value:.2f}"
    assert (
        page.locator("#latent-shapes-0").evaluate("(e) => getComputedStyle(e).outlineStyle")
        == "solid"
    )
    assert (pixels(page, "shapes", 0) != before).any()


def test_without_weights_frames_of_the_sheet_are_shown_and_the_page_says_so(opened, explorer_page):
    """Tile (row, column) is of shade 10 row + column, drawn inverted; row 0 is not there."""
    page, (shown, _) = opened.page, explorer_page[1]
    note = page.locator("#explorer-shapes .note")
    assert [m for m in chosen(shown) if not shown[m].weights] == [] and not note.is_visible()
    page.get_by_label("Model 4").first.select_option("4")
    page.wait_for_function(
        "document.querySelector('#explorer-shapes').explorer.models[4].picture?.complete"
    )
    opened.settle()
    assert note.is_visible() and "Pre-rendered" in note.inner_text()
    assert is_shade(page, 10)  # row 1, column 0: the first image reconstructed
    page.get_by_label("Test image 4").first.check()
    opened.settle()
    assert is_shade(page, 13)
    slide(opened, "shapes", 2, 1.0)  # row 2 + 2; -2.5 to 2.5 in 11 columns: 1.0 is column 7
    assert is_shade(page, 47)
    slide(opened, "shapes", 0, -2.5)
    assert is_shade(page, 20)
    page.locator("#explorer-shapes .reset").click()
    opened.settle()
    assert is_shade(page, 13)


def test_frames_beside_results_move_every_latent_from_every_test_image(open_page, tmp_path):
    shown, _ = shown_models("fc", 3, 2)
    bare = [replace(m, weights=None, mu=None, frames=frames_of(m)) for m in shown]
    write_page(tmp_path / "frames.html", block(bare, "shapes", "2D Shapes"))
    opened = open_page(tmp_path / "frames.html")
    page, exact = opened.page, dict(exact=True)
    page.wait_for_function(
        "document.querySelector('#explorer-shapes').explorer.models[0].picture?.complete"
    )
    assert "that image with that latent alone moved" in page.locator(".note").inner_text()
    for image, k, value in ((10, 1, 1.5), (4, 2, -2.25)):
        page.get_by_label(f"Test image {image + 1}", **exact).check()
        slide(opened, "shapes", k, value)
        assert page.get_by_label(f"Test image {image + 1}", **exact).is_checked()
        for p, m in enumerate(shown):
            z = m.mu[image].copy()
            z[m.rows[k]["latent"]] = value
            assert np.abs(pixels(page, "shapes", p) - expected(m, z)).mean() < 8  # WebP's loss
    assert opened.said == []


def test_where_all_is_pre_rendered_one_latent_moves_at_a_time(open_page, tmp_path):
    """What the sliders say is what is drawn: the others go back, of a sheet the start image too."""
    shown, _ = shown_models("fc", 3, 2, without=2)
    write_page(tmp_path / "pre-rendered.html", block(shown, "shapes", "2D Shapes"))
    opened = open_page(tmp_path / "pre-rendered.html")
    page, values = opened.page, "document.querySelector('#explorer-shapes').explorer.values"
    page.wait_for_function(
        "document.querySelector('#explorer-shapes').explorer.models[0].picture?.complete"
    )
    assert page.locator(".random").count() == 0
    page.get_by_label("Test image 4").check()
    slide(opened, "shapes", 1, 0.5)
    assert page.get_by_label("Test image 1", exact=True).is_checked()
    slide(opened, "shapes", 2, 1.0)
    assert page.evaluate(values) == [None, None, 1]
    assert (pixels(page, "shapes", 0) == 255 - 47).all()  # row 2 + 2, column 7
    assert page.locator("#latent-shapes-2").get_attribute("step") == "0.5"
    assert opened.said == []

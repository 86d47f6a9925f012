"""The report in headless Chromium: looked at with a ruler, and used with the mouse and the keys.

Every test also fails on a console message, a script error or a request (see `open_report`).
"""

from itertools import pairwise

import numpy as np
import pytest
from synthetic_run import make_run

from tlkit.evaluation.metrics import score
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.labels import join_labels, split_labels
from tlkit.report import render, render_run
from tlkit.runs import Run

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>alert(1)</script>",
    '"; DROP TABLE images; --',
    "고양이와 강아지",
    "قطة صغيرة",
    "🐈\u200d⬛🐕",
    "x" * 200,
    "cat",
]

# What sticks out of the window or lies on something else. Text is measured by its own lines, so
# that a box may be wide without harm; what a scrolled container clips is left to its scroll bar.
MEASURE = """() => {
  const problems = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width)
    problems.push(`page scrolls sideways: ${document.documentElement.scrollWidth} > ${width}`);
  const texts = [];
  const walker = document.createTreeWalker(document.querySelector("body"), NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    const silent = "script, style, option, select, dialog, .skip, noscript";
    if (!node.data.trim() || parent.closest(silent)) continue;
    if (!parent.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    // What the nearest clipping ancestor shows of it.
    let clip = { left: -1e9, right: 1e9, top: -1e9, bottom: 1e9 };
    for (let box = parent; box; box = box.parentElement) {
      if (getComputedStyle(box).overflow === "visible") continue;
      const b = box.getBoundingClientRect();
      clip = { left: Math.max(clip.left, b.left), right: Math.min(clip.right, b.right),
               top: Math.max(clip.top, b.top), bottom: Math.min(clip.bottom, b.bottom) };
      if (box.matches(".scroll")) break;
    }
    for (const r of range.getClientRects()) {
      const box = { left: Math.max(r.left, clip.left), right: Math.min(r.right, clip.right),
                    top: Math.max(r.top, clip.top), bottom: Math.min(r.bottom, clip.bottom) };
      if (box.right - box.left < 2 || box.bottom - box.top < 2) continue;
      if (box.left < -1 || box.right > width + 1)
        problems.push(`outside: ${node.data.trim().slice(0, 40)}`);
      texts.push({ ...box, node, parent, text: node.data.trim().slice(0, 40) });
    }
  }
  texts.sort((a, b) => a.top - b.top);
  for (let i = 0; i < texts.length; i++)
    for (let j = i + 1; j < texts.length && texts[j].top < texts[i].bottom; j++) {
      const [a, b] = [texts[i], texts[j]];
      if (a.node === b.node) continue;
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      // Line boxes of tight headings share a few pixels without their letters touching.
      if (across > 2 && down > 5) problems.push(`overlap: ${a.text} / ${b.text}`);
    }
  for (const image of document.querySelectorAll("img"))
    if (image.complete && !image.naturalWidth) problems.push(`broken picture: ${image.alt}`);
  return problems;
}"""


def test_the_ruler_itself_sees_overlap_overflow_and_poor_contrast(open_report, report):
    """The measurements below prove nothing unless they can fail."""
    page = open_report(report)
    page.add_style_tag(content=".lead { margin-bottom: -4rem } .status { color: #999 }")
    problems = page.evaluate(MEASURE)
    assert any(problem.startswith("overlap") for problem in problems)
    assert any(problem.startswith("status") for problem in page.evaluate(CONTRAST))
    page.add_style_tag(content=".verdict { max-width: none; width: 1500px; white-space: nowrap }")
    assert any(problem.startswith("page scrolls") for problem in page.evaluate(MEASURE))


def status(page):
    return page.locator("#gallery-status").text_content()


def tiles(page):
    return page.locator("#gallery-grid > li")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return render_run(
        make_run(folder, ["cat", "dog"], {"train": 12, "val": 40, "test": 8}, skill=1.2)
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overlaps_or_sticks_out(open_report, report, width, scheme):
    assert open_report(report, width, scheme=scheme).evaluate(MEASURE) == []


@pytest.mark.parametrize("width", [1280, 700, 400])
def test_hostile_names_neither_run_nor_break_the_page(open_report, tmp_path, width):
    run = make_run(tmp_path, HOSTILE, {"val": 5, "test": 5}, skill=1.0)
    page = open_report(render_run(run), width)
    assert page.evaluate(MEASURE) == []
    for name in HOSTILE:
        assert page.locator(f"#data bdi[title='{name}']").text_content() == name
    options = page.locator("[name=label] option").all_text_contents()
    assert options[1:] == HOSTILE
    # Through the script as well: the gallery and the large view.
    page.select_option("[name=label]", "0")
    tiles(page).first.locator("button").click()
    assert page.locator("#viewer").is_visible()
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("count", [20, 60, 300])
def test_many_classes_fit_a_phone(open_report, tmp_path, count):
    classes = [f"breed number {i}" for i in range(count)]
    run = make_run(tmp_path, classes, {"val": 2}, pictures=False, skill=3)
    assert open_report(render_run(run), 400).evaluate(MEASURE) == []


def test_the_matrix_toggles_between_counts_and_shares(open_report, report):
    page = open_report(report)
    cell = page.locator(".matrix tbody td").first
    assert cell.locator(".count").is_visible()
    assert not cell.locator(".share").is_visible()
    page.get_by_label("share of the true class").check()
    assert cell.locator(".share").is_visible()
    assert not cell.locator(".count").is_visible()


def test_clicking_a_cell_shows_exactly_its_pictures(open_report, report):
    page = open_report(report)
    cell = page.locator(".matrix td.wrong button").first
    count = int(cell.locator(".count").text_content())
    cell.click()
    assert tiles(page).count() == count
    assert status(page) == f"{count} picture{'s' if count > 1 else ''}: 0 right, {count} wrong"
    assert page.locator("#gallery-title").is_visible()
    assert page.input_value("[name=split]") == "test"
    assert page.input_value("[name=label]") == cell.get_attribute("data-label")


def test_pairs_and_class_names_lead_to_their_pictures(open_report, report):
    page = open_report(report)
    page.locator(".pairs button").first.click()
    pair = int(page.locator(".pairs data").first.text_content())
    assert tiles(page).count() == pair
    page.locator(".sortable tbody button").first.click()
    assert status(page).startswith("8 pictures")


def test_filters_and_order(open_report, report):
    page = open_report(report)
    assert status(page).startswith("96 pictures")
    assert tiles(page).count() == 60
    page.get_by_role("button", name="Show more").click()
    assert tiles(page).count() == 96

    page.select_option("[name=outcome]", "wrong")
    wrong = tiles(page).count()
    assert 0 < wrong < 60
    assert page.locator("#gallery-grid .mark").all_text_contents() == ["✗"] * wrong

    page.select_option("[name=outcome]", "")
    page.fill("[name=low]", "90")
    shown = page.locator("#gallery-grid .interval").all_text_contents()
    assert shown
    assert all(int(text.strip(">\u00a0%")) >= 90 for text in shown)

    page.get_by_role("button", name="Reset").click()
    page.locator("#gallery-status", has_text="96 pictures").wait_for()
    page.select_option("[name=order]", "unsure")
    shown = page.locator("#gallery-grid .interval").all_text_contents()
    assert shown == sorted(shown, key=lambda text: int(text.strip(">\u00a0%")))

    page.fill("[name=low]", "100")
    page.fill("[name=high]", "0")
    assert status(page) == "No picture fits these filters."


def test_the_keyboard_moves_through_tiles_and_the_large_view(open_report, report):
    page = open_report(report)
    focused = "document.activeElement.dataset.index"
    tiles(page).first.locator("button").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "1"
    page.keyboard.press("ArrowDown")
    below = int(page.evaluate(focused))
    assert below > 2
    page.keyboard.press("End")
    assert page.evaluate(focused) == "95"
    page.keyboard.press("Home")
    assert page.evaluate(focused) == "0"

    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    first = viewer.locator("a").text_content()
    page.keyboard.press("ArrowRight")
    assert viewer.locator("a").text_content() != first
    viewer.get_by_role("button", name="Previous").click()
    assert viewer.locator("a").text_content() == first
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert page.evaluate(focused) == "1"


def test_the_pictures_worth_a_look_open_among_themselves(open_report, report):
    page = open_report(report)
    opened = page.locator("#grid-wrong button.open")
    viewer = page.locator("#viewer")
    paths = page.locator("#grid-wrong img").evaluate_all("all => all.map((i) => i.dataset.path)")
    assert len(paths) > 1
    opened.first.focus()
    page.keyboard.press("ArrowRight")
    assert opened.nth(1).evaluate("e => e === document.activeElement && e.tabIndex === 0")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    assert viewer.locator("a").text_content() == f"test: {paths[0]}"
    page.keyboard.press("ArrowLeft")
    assert viewer.locator("a").text_content() == f"test: {paths[-1]}"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert page.evaluate("document.activeElement.className") == "open"
    # The gallery opens its own again.
    page.select_option("[name=outcome]", "right")
    tiles(page).first.locator("button").click()
    assert viewer.locator("h3").text_content().startswith("✓")


@pytest.fixture
def several(tmp_path):
    """A run whose pictures show several classes each."""
    classes = ["bird", "flower", "vehicle"]
    run = make_run(tmp_path, classes, {"val": 8})
    random = np.random.default_rng(0)
    own = random.random((24, 3)) < 0.6
    p = (0.7 * own + 0.3 * random.random(own.shape)).astype(np.float32)
    samples = run.predictions[["path", "split"]].assign(
        label=[join_labels(np.array(classes)[row]) for row in own]
    )
    table = predictions_table(samples, p, classes, multi_label=True)
    run.write_table("predictions", table)
    run.write_metrics(run.metrics | score(table, classes, multi_label=True))
    return run


def test_several_labels_break_between_labels_only(open_report, several):
    """A caption ends its lines where a label ends, not inside a word."""
    page = open_report(render_run(several), 400)
    broken = page.locator(".grid .name").evaluate_all("""names => names.flatMap((name) =>
      [...name.childNodes].filter((part) => part.nodeType === 3).filter((part) => {
        const range = document.createRange();
        range.selectNodeContents(part);
        return new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1;
      }).map((part) => part.data))""")
    assert broken == []
    assert tiles(page).locator("wbr").count() > 0
    assert page.evaluate(MEASURE) == []


def test_of_several_labels_a_class_finds_all_that_show_it(open_report, several):
    page = open_report(render_run(several))
    labels = several.predictions["label"].map(split_labels)
    page.locator("#per_class tbody button", has_text="flower").click()
    shown = labels.map(lambda own: "flower" in own).sum()
    assert 0 < shown < 24
    assert status(page).startswith(f"{shown} pictures")
    page.select_option("[name=label]", label="bird;flower")
    both = labels.map(lambda own: {"bird", "flower"} <= set(own)).sum()
    assert tiles(page).count() == both
    page.select_option("[name=label]", label="(none)")
    assert tiles(page).count() == (labels.map(len) == 0).sum()


def test_the_large_view_links_to_the_file_itself(open_report, report):
    page = open_report(report)
    tiles(page).first.locator("button").click()
    address = page.locator("#viewer a").evaluate("a => a.href")
    assert address.startswith("file://")
    assert "data%20&%20%3Cpictures%3E/" in address or "data%20%26%20%3Cpictures%3E/" in address
    assert page.locator("#viewer img").evaluate("img => img.naturalWidth") > 0


def test_the_table_sorts_by_any_column_with_undefined_last(open_report, tmp_path):
    run = make_run(tmp_path, ["b", "c", "a"], {"val": 6}, pictures=False, skill=0.6)
    metrics = run.metrics
    metrics["splits"]["val"]["per_class"][1]["precision"] = None
    run.write_metrics(metrics)
    page = open_report(render_run(run))
    names = page.locator("#per_class tbody bdi")
    page.locator("#per_class thead button").nth(0).click()
    assert names.all_text_contents() == ["a", "b", "c"]
    page.locator("#per_class thead button").nth(0).click()
    assert names.all_text_contents() == ["c", "b", "a"]
    for _ in range(2):
        page.locator("#per_class thead button").nth(2).click()
        assert names.all_text_contents()[-1] == "c"
    assert page.locator("#per_class [aria-sort]").get_attribute("aria-sort") == "ascending"


def test_one_class_can_be_picked_out_of_the_curves(open_report, report):
    page = open_report(report)
    lit = page.locator(".threshold.lit")
    assert lit.count() == 0
    page.select_option("#curve-class", label="dog")
    assert lit.count() == 2
    assert lit.first.get_attribute("data-curve") == "1"
    dimmed = page.locator(".threshold:not(.lit)").first
    assert float(dimmed.evaluate("e => getComputedStyle(e).opacity")) < 0.5
    page.select_option("#curve-class", "")
    assert lit.count() == 0
    names = page.locator("#thresholds tbody bdi")
    before = names.all_text_contents()
    page.locator("#thresholds thead button").nth(2).click()
    assert names.all_text_contents() == before[::-1]


def test_the_threshold_of_dont_know_can_be_moved(open_report, report):
    page = open_report(report)
    table = Run(report.parent).predictions
    test = table[table["split"] == "test"]
    slider, readout = page.locator("#reject-below"), page.locator("#reject-readout")
    assert readout.text_content().startswith("It answers 16 pictures of 16 (100\u00a0%)")
    slider.focus()
    for _ in range(70):
        page.keyboard.press("ArrowRight")
    assert page.locator("#reject-value").text_content() == "70\u00a0%"
    kept = test[test["confidence"] >= 0.7]
    wrong = int((kept["label"] != kept["predicted"]).sum())
    lost = int((test["label"] == test["predicted"]).sum()) - (len(kept) - wrong)
    assert f"It answers {len(kept)} pictures of 16" in readout.text_content()
    assert f"{wrong} mistake" in readout.text_content()
    assert f"{lost} right answer" in readout.text_content()
    box = page.locator("#coverage-mark").evaluate("e => [e.cx.baseVal.value, e.cy.baseVal.value]")
    assert box[0] == pytest.approx(46 + 382 * len(kept) / 16)
    page.get_by_role("button", name="Show what it would reject").click()
    assert page.input_value("[name=high]") == "70"
    assert tiles(page).count() == (test["confidence"] <= 0.7).sum()


def test_the_matrix_as_a_picture_answers_mouse_and_keys(open_report, tmp_path):
    classes = [f"class {i:02}" for i in range(30)]
    run = make_run(tmp_path, classes, {"val": 4}, pictures=False, skill=3)
    page = open_report(render_run(run))
    matrix, readout = page.locator(".matrix-picture"), page.locator("#matrix-readout")
    matrix.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    hits = run.metrics["splits"]["val"]["confusion_matrix"][1][1]
    assert readout.text_content() == f"class 01 said to be class 01: {hits} pictures"
    page.keyboard.press("Enter")
    assert tiles(page).count() == hits
    size = matrix.bounding_box()["width"]
    matrix.click(position={"x": size * 2.5 / 30, "y": size * 2.5 / 30})
    assert readout.text_content().startswith("class 02 said to be class 02")
    assert page.input_value("[name=label]") == "2"


def test_pictures_over_the_budget_are_named_and_linked(open_report, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "GALLERY_BUDGET", 12_000)
    run = make_run(tmp_path, ["cat", "dog"], {"val": 30}, skill=1.2)
    page = open_report(render_run(run))
    assert page.locator("#gallery-grid .missing").first.text_content().startswith("Not embedded:")
    assert page.evaluate(MEASURE) == []


def test_ten_thousand_pictures_stay_quick(open_report, tmp_path):
    run = make_run(tmp_path, [str(i) for i in range(10)], {"val": 1000}, pictures=False, skill=3)
    page = open_report(render_run(run))
    assert status(page).startswith("10,000 pictures")
    assert tiles(page).count() == 60
    page.select_option("[name=outcome]", "wrong")
    page.locator("#gallery-status", has_text=": 0 right").wait_for()
    assert tiles(page).count() == 60, "it draws no more than one sees"


def test_it_prints_light_and_without_controls(open_report, report):
    page = open_report(report, 794, scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("#gallery").is_visible()
    assert not page.locator(".contents").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(MEASURE) == []


def test_it_reads_well_without_sight(open_report, report):
    """Landmarks, one h1, no skipped heading level, names for every control, scoped table heads."""
    page = open_report(report)
    assert (
        page.locator("main").count()
        == page.locator("nav").count()
        == page.locator("h1").count()
        == 1
    )
    levels = page.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.map((h) => Number(h.tagName[1]))"
    )
    assert all(after - before <= 1 for before, after in pairwise(levels))
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, select, input")]
      .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length""")
    assert nameless == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("img:not([alt])").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"


def test_a_table_is_a_stop_of_the_tab_key_only_where_it_scrolls(open_report, tmp_path):
    classes = [f"class {i}" for i in range(40)]
    run = make_run(tmp_path, classes, {"val": 2}, pictures=False, skill=3)
    page = open_report(render_run(run))
    # Forty rows scroll down, five do not; told once the page is laid out.
    page.locator("#per_class .scroll[tabindex='0']").wait_for()
    page.locator("#coverage .scroll[tabindex='-1']").wait_for()


CONTRAST = """() => {
  const channel = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const parse = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return parse(colour);
    }
  };
  const poor = new Set();
  for (const e of document.querySelectorAll("main *, header *, nav *, footer *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const silent = "svg, option, select, noscript, script";
    if (!own || !e.checkVisibility() || e.closest(silent)) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(`${e.className || e.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(open_report, report, scheme):
    assert open_report(report, scheme=scheme).evaluate(CONTRAST) == []

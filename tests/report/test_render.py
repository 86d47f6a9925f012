"""The page as text: its numbers are metrics.json's, and nothing in it can run or reach out."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html import unescape

import numpy as np
import pytest
from synthetic_run import make_predictions, make_run

from tlkit.errors import RunError
from tlkit.evaluation.metrics import score
from tlkit.report import render, render_run, write_report
from tlkit.runs import Run

SPLITS = {"train": 12, "val": 12, "test": 8}


def section(page, name):
    """The HTML of one section."""
    return re.search(rf'<section id="{name}".*?</section>', page, re.S).group()


def numbers(html):
    return [float(value) for value in re.findall(r'<data value="([^"]+)">', html)]


def gallery_data(page):
    return json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S).group(1))


def test_the_summary_shows_the_numbers_of_metrics_json(cats_and_dogs):
    page = render_run(cats_and_dogs).read_text()
    metrics = cats_and_dogs.metrics
    test = metrics["splits"]["test"]
    shown = numbers(section(page, "summary"))
    assert shown[0] == metrics["accuracy"]
    keys = ("balanced_accuracy", "macro_f1", "ece", "ece_by_chance")
    assert shown[1:5] == [test[key] for key in keys]
    keys = ("accuracy", "balanced_accuracy", "macro_f1")
    assert shown[5:] == [metrics["splits"][split][k] for split in ("train", "val") for k in keys]
    for key in ("accuracy_interval", "balanced_accuracy_interval", "macro_f1_interval"):
        low, high = (f"{share * 100:.1f}" for share in metrics[key])
        assert f"{low}–{high}\u00a0%" in section(page, "summary")
    for fact in ("What would help most", "More pictures: "):
        assert fact in section(page, "summary")
    assert f"It names {test['correct']} of 16 test pictures correctly" in page


def test_tables_show_the_numbers_of_metrics_json(cats_and_dogs):
    page = render_run(cats_and_dogs).read_text()
    test = cats_and_dogs.metrics["splits"]["test"]
    rows = section(page, "per_class").split("<tbody>")[1]
    assert numbers(rows) == [
        row[k] for row in test["per_class"] for k in ("precision", "recall", "f1")
    ]
    by_precision = sorted(test["per_class"], key=lambda row: row["average_precision"])
    assert numbers(section(page, "thresholds")) == [
        row[k] for row in by_precision for k in ("average_precision", "auc")
    ]
    cells = re.findall(r'class="count">(\d+)<|class="zero">(0)<', section(page, "confusion"))
    assert [int(a or b) for a, b in cells] == np.ravel(test["confusion_matrix"]).tolist()
    steps = numbers(section(page, "steps"))
    assert steps[-2:] == [23_587_712, 4_098]
    assert "23,587,712</data> parameters frozen" in page


def test_coverage_and_calibration_state_what_was_measured(cats_and_dogs):
    metrics = cats_and_dogs.metrics
    metrics["calibration"] = {
        "temperature": 1.7, "images": 24, "loss_before": 0.5, "loss_after": 0.4,
        "ece_before": 0.123, "ece_after": 0.045,
    }  # fmt: skip
    cats_and_dogs.write_metrics(metrics)
    page = render_run(cats_and_dogs).read_text()
    shown = numbers(section(page, "calibration"))
    for number in (1.7, 0.123, 0.045, pytest.approx(metrics["ece"])):
        assert number in shown
    assert "tempered" in section(page, "calibration")
    table = cats_and_dogs.predictions
    test = table[table["split"] == "test"]
    kept = test[test["confidence"] >= 0.9]
    row = re.search(r"90\u00a0%</th>(.*?)</tr>", section(page, "coverage"), re.S).group(1)
    assert numbers(row) == pytest.approx(
        [len(kept) / len(test), (kept["label"] == kept["predicted"]).mean()]
    )


@pytest.mark.parametrize(
    ("confidence", "right", "says"),
    [
        (0.9, 34, "no more apart than chance"),
        (0.9, 60, "promises more than it keeps"),
        (0.6, 96, "better than it claims"),
    ],
)
def test_confidence_and_accuracy_differ_only_beyond_chance(cats_and_dogs, confidence, right, says):
    images = 36 if right == 34 else 100
    table = make_predictions(["cat", "dog"], {"val": images // 2})
    hit = np.arange(images) < right
    table = table.assign(
        confidence=confidence,
        predicted=np.where(hit, table["label"], np.where(table["label"] == "cat", "dog", "cat")),
        loss=-np.log(np.where(hit, confidence, 1 - confidence)),
        **{
            f"p_{name}": np.where((table["label"] == name) == hit, confidence, 1 - confidence)
            for name in ("cat", "dog")
        },
    )
    cats_and_dogs.write_table("predictions", table)
    cats_and_dogs.write_metrics(cats_and_dogs.metrics | score(table, ["cat", "dog"]))
    assert says in section(render_run(cats_and_dogs).read_text(), "calibration")


def test_of_many_classes_the_hardest_are_drawn(tmp_path):
    classes = [f"class {i}" for i in range(25)]
    run = make_run(tmp_path, classes, {"val": 6}, pictures=False, skill=2)
    html = section(render_run(run).read_text(), "thresholds")
    drawn = set(re.findall(r'data-curve="(\d+)"', html))
    rows = run.metrics["splits"]["val"]["per_class"]
    hardest = sorted(range(25), key=lambda i: rows[i]["average_precision"])[:20]
    assert drawn == {str(i) for i in hardest}
    assert html.count('class="threshold"') == 40
    assert "Drawn are the 20 classes" in html


def test_grids_hold_the_headline_split_only_with_alternative_texts(cats_and_dogs):
    page = render_run(cats_and_dogs).read_text()
    pictures = section(page, "pictures")
    paths = re.findall(r'data-path="([^"]+)"', pictures)
    assert paths
    assert all(path.startswith("test/") for path in paths)
    alts = re.findall(r'<img src="data:image/jpeg;base64,[^"]+" alt="([^"]+)"', pictures)
    assert len(alts) == len(paths)
    assert all(re.fullmatch(r"(cat|dog) photo predicted as (cat|dog), \d+\u00a0%", a) for a in alts)


def test_a_mistake_shows_what_the_label_was_given(cats_and_dogs):
    html = section(render_run(cats_and_dogs).read_text(), "pictures")
    wrong = html[html.index('id="grid-wrong"') : html.index('id="grid-uncertain"')]
    table = cats_and_dogs.predictions.set_index("path")
    paths = re.findall(r'data-path="([^"]+)"', wrong)
    row = [table.loc[path] for path in paths]
    expected = [n for r in row for n in (r["confidence"], r[f"p_{r['label']}"])]
    assert numbers(wrong) == pytest.approx(expected)
    assert numbers(wrong)[1::2] == sorted(numbers(wrong)[1::2])


def test_flags_stand_out_and_nothing_else_of_a_sentence_is_markup():
    said = (
        render.environment()
        .from_string("{{ text|flags }}")
        .render(text="<b> (--epochs 10): a -- b; --fixes fixes.csv.")
    )
    assert said == (
        '&lt;b&gt; (<code class="flag">--epochs 10</code>): a -- b; '
        '<code class="flag">--fixes fixes.csv</code>.'
    )


def test_an_evaluation_says_whose_it_is(cats_and_dogs, tmp_path):
    folder = tmp_path / "cats" / "evaluations" / "new ones"
    folder.parent.mkdir(parents=True)
    cats_and_dogs.folder.rename(folder)
    assert "run cats/evaluations/new ones" in render_run(Run(folder)).read_text()


def test_a_folder_named_train_is_called_by_its_parent_too(cats_and_dogs):
    metrics = cats_and_dogs.metrics
    metrics["data"]["root"] = "/somewhere/cats/train"
    cats_and_dogs.write_metrics(metrics)
    assert ">cats/train</bdi></h1>" in render_run(cats_and_dogs).read_text()


def test_the_gallery_holds_every_held_out_image_once_and_no_training_image(cats_and_dogs):
    data = gallery_data(render_run(cats_and_dogs).read_text())
    table = cats_and_dogs.predictions.set_index("path")
    held_out = table[table["split"] != "train"]
    assert sorted(image[0] for image in data["images"]) == sorted(held_out.index)
    for path, split, label, predicted, confidence, best, picture in data["images"]:
        row = table.loc[path]
        assert (split, data["classes"][label]) == (row["split"], row["label"])
        assert data["classes"][predicted] == row["predicted"]
        assert confidence == pytest.approx(row["confidence"], abs=1e-6)
        assert data["classes"][best[0][0]] == row["predicted"]
        assert label in [place for place, _ in best]
        assert picture == 1 or len(picture) > 100


def test_hostile_names_are_text_everywhere(tmp_path):
    classes = ["<script>alert(1)</script>", '"; DROP onload="alert(2)', "</script><b>", "{{ 7*7 }}"]
    run = make_run(tmp_path, classes, {"val": 6}, skill=0.5)
    page = render_run(run).read_text()
    assert page.count("<script") == 2  # the gallery's data and the page's own script
    assert page.count("</script>") == 2
    assert "<b>" not in page
    assert 'onload="' not in page
    assert "{{ 7*7 }}" in page
    assert set(gallery_data(page)["classes"]) == set(classes)
    shown = {unescape(name) for name in re.findall(r'class="name" title="([^"]*)"', page)}
    assert set(classes) <= shown


def test_the_policy_allows_this_script_only_and_no_network(cats_and_dogs):
    page = render_run(cats_and_dogs).read_text()
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1))
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; img-src data:;" in policy
    # No address of another host; the recipe and the data are the user's own text.
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_missing_pictures_leave_a_placeholder_with_the_path(cats_and_dogs):
    table = cats_and_dogs.predictions
    root = cats_and_dogs.metrics["data"]["root"]
    for path in table[table["split"] == "test"]["path"]:
        (cats_and_dogs.folder / root / path).unlink()
    page = render_run(cats_and_dogs).read_text()
    assert "<img" not in section(page, "pictures")
    placeholder = 'File missing:</span> <span class="path">test/<wbr>class '
    assert placeholder in section(page, "pictures")
    kinds = {image[1]: image[6] for image in gallery_data(page)["images"]}
    assert kinds["test"] == ""
    assert len(kinds["val"]) > 100


def test_a_moved_data_folder_is_given_as_root(cats_and_dogs, tmp_path):
    (tmp_path / "data & <pictures>").rename(tmp_path / "moved")
    parts = (cats_and_dogs.predictions, cats_and_dogs.metrics, cats_and_dogs.history)
    assert "<img" not in section(write_report(cats_and_dogs, *parts).read_text(), "pictures")
    page = write_report(cats_and_dogs, *parts, root=tmp_path / "moved").read_text()
    assert "<img" in section(page, "pictures")
    assert gallery_data(page)["root"] == "../../moved/"


def test_over_the_budget_pictures_become_links_and_the_report_says_so(cats_and_dogs, monkeypatch):
    monkeypatch.setattr(render, "GALLERY_BUDGET", 12_000)
    page = render_run(cats_and_dogs).read_text()
    images = gallery_data(page)["images"]
    links = sum(image[6] is None for image in images)
    assert 0 < links < len(images)
    assert f"the other {links} are links" in page
    assert "<img" in section(page, "pictures")


def test_a_run_without_the_pipelines_extras_still_renders(tmp_path):
    run = make_run(tmp_path, ["cat", "dog"], SPLITS, pictures=False, extra=False)
    page = render_run(run).read_text()
    assert 'id="steps"' not in page
    assert 'href="#steps"' not in page
    assert "File missing" in page
    assert "<dt>Backbone" not in page


def test_an_evaluation_without_training_renders(cats_and_dogs):
    for name in ("history.csv", "skipped.csv", "recipe.toml"):
        (cats_and_dogs.folder / name).unlink()
    page = render_run(cats_and_dogs).read_text()
    assert 'id="curves"' not in page
    assert "<h3>Recipe" not in page


def test_a_solved_head_is_told_by_iterations_and_one_number_needs_no_chart(cats_and_dogs):
    history = cats_and_dogs.history.head(3).assign(lr=0.0, epoch=[1, 2, 30])
    cats_and_dogs.write_table("history", history)
    curves = section(render_run(cats_and_dogs).read_text(), "curves")
    assert "The ring marks the last iteration" in curves
    assert "All epochs" not in curves
    assert curves.count("<svg") == 2
    cats_and_dogs.write_table("history", history.tail(1))
    curves = section(render_run(cats_and_dogs).read_text(), "curves")
    assert "it took 30 iterations" in curves
    assert "<svg" not in curves
    assert "<details" not in curves
    assert "<table" in curves
    assert ">Training</h2>" in curves


def test_empty_class_folders_are_named(cats_and_dogs):
    metrics = cats_and_dogs.metrics
    metrics["data"]["empty_classes"] = ["eel & <fish>"]
    cats_and_dogs.write_metrics(metrics)
    assert "eel &amp; &lt;fish&gt;" in section(render_run(cats_and_dogs).read_text(), "data")


def test_only_training_images_is_said_loudly(tmp_path):
    run = make_run(tmp_path, ["cat", "dog"], {"train": 8})
    page = render_run(run).read_text()
    assert "says nothing about new" in page
    assert len(gallery_data(page)["images"]) == 16


@pytest.mark.parametrize(("count", "form"), [(20, "table"), (21, "picture"), (201, "pairs")])
def test_the_matrix_takes_the_form_its_size_allows(tmp_path, count, form):
    classes = [f"class {i}" for i in range(count)]
    page = render_run(make_run(tmp_path, classes, {"val": 1}, pictures=False)).read_text()
    html = section(page, "confusion")
    assert ("<table" in html) == (form == "table")
    assert ("matrix-picture" in html) == (form == "picture")
    assert ("no longer shows anything" in html) == (form == "pairs")
    assert "Most frequent mistakes" in html
    assert len(re.findall("<rect class=.[rw]", html)) <= count
    assert html.count("<li><bdi") == (count if form == "picture" else 0)


def test_an_unfinished_run_is_a_one_line_error(tmp_path):
    run = Run.create(tmp_path, "begun")
    run.write_text(run.recipe_file, "")
    with pytest.raises(RunError, match="did not finish"):
        render_run(run)
    assert not run.report.exists()


def test_rendering_is_repeatable_and_loads_no_network(cats_and_dogs):
    before = render_run(cats_and_dogs).read_bytes()
    code = (
        "import sys; from pathlib import Path; from tlkit.runs import Run; "
        "from tlkit.report import render_run; render_run(Run.open(Path(sys.argv[1]))); "
        "print(sorted({'tensorflow', 'keras', 'matplotlib', 'jax', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(cats_and_dogs.folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert cats_and_dogs.report.read_bytes() == before

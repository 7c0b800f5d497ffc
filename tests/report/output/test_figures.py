import csv
import dataclasses
import io
import re
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import Estimate
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import canvas, drawings, figures, gain_points
from robust_transfer.report.study import tables
from robust_transfer.report.study.natural import EPS
from synthetic_store import add_attack, natural, quickstart, study


def drawing(name, store, source="runs"):
    return figures.figure(tables.build(name, source, collect(store)))


def texts(drawn):
    with canvas.panels(*drawn.shape) as (figure, axes):
        drawn.draw(axes)
        figure.tight_layout()
        if drawn.label:
            drawn.label(axes)
        legends = [text.get_text() for axis in axes for text in axis.get_legend().get_texts()]
        labels = [text.get_text() for axis in axes for text in axis.texts]
    return legends, labels


def test_figure_2_published_has_the_studys_r2_and_all_labels(tmp_path):
    drawn = drawing("2", tmp_path, "published")
    legends, labels = texts(drawn)
    assert [text.split(":")[0] for text in legends] == ["AT", "SimCLR"]
    assert re.findall(r"R² of the points (0\.\d\d)", drawn.caption) == ["0.98", "0.94"]
    # What R² of gains is if pre-training raises SA alone (simulated by hand from the published table).
    [low, high] = re.search(
        r"with AT, R² of RA would be 0\.99 \[([\d.]+), ([\d.]+)\]", drawn.caption
    ).groups()
    assert 0.96 < float(low) < 0.99 <= float(high)
    assert sorted(labels) == sorted([row[0] for row in drawn.rows]) and len(labels) == 24
    assert "part of R² is mechanical" in drawn.caption


@pytest.mark.slow
def test_figure_3_fits_what_scipy_fits(tmp_path):
    drawn = drawing("3", study(tmp_path, tables=("3",)))
    assert drawn.shape == (1, 2)
    for metric, position in (("ra", 0), ("acr", 2)):
        points = np.array([[r[5], r[8]] for r in drawn.rows if r[4] == metric and r[2] == "cr"])
        assert len(points) == 12
        expected = stats.linregress(points[:, 0], points[:, 1]).rvalue ** 2
        assert (
            f"CR, {metric.upper()}: slope" in drawn.caption
            and f"R² of the points {expected:.2f}" in drawn.caption
        )
        assert texts(drawn)[0][position].startswith("CR: slope ")


def test_two_sets_give_no_fit_and_say_so(tmp_path):
    drawn = drawing("2", study(tmp_path, tables=("2",), datasets=("pets", "dtd")))
    assert "AT, RA: no line (2 targets" in drawn.caption
    assert texts(drawn)[0] == ["AT", "SimCLR"]


def test_figures_of_several_sets_have_a_named_point_a_target_and_the_same_fits(tmp_path):
    store = natural(tmp_path, seeds=(0,), n=40)
    for name, robust, metrics in (("natural2", "at", 1), ("natural3", "cr", 2)):
        drawn = drawing(name, store)
        _, labels = texts(drawn)
        points = np.array([[r[5], r[8]] for r in drawn.rows if r[2] == robust and r[4] == "ra"])
        expected = stats.linregress(points[:, 0], points[:, 1]).rvalue ** 2
        assert (
            f"{robust.upper()}, RA: " in drawn.caption and f"R² of the points {expected:.2f}" in drawn.caption
        )
        assert len(labels) == len(drawn.rows) and len({row[3] for row in drawn.rows}) <= 2
        assert {row[4] for row in drawn.rows} == {"ra", "acr"} if metrics == 2 else {"ra"}
        assert drawn.name == f"figure-{name}" and "8-pixel images" in drawn.caption


def test_a_target_without_a_gain_has_no_point_and_is_named(tmp_path):
    options = {
        "experiment": "natural",
        "shots": 5,
        "n": 20,
        "source": "tiny_imagenet",
        "settings": {"eps": EPS},
    }
    for number, dataset in enumerate(("digits", "pets3", "faces")):
        add_attack(tmp_path, dataset, 9 + number, 4 * number, **options)  # none of digits is robust
        add_attack(tmp_path, dataset, 15 + number, 8, pretrain="at", **options)
    drawn = drawing("natural2", tmp_path)
    assert {row[0] for row in drawn.rows} == {"pets3", "faces"}
    assert (
        "No RA gain, as it is not distinct from 0 without pre-training: digits 5-shot (at)." in drawn.caption
    )
    assert "digits 5-shot" not in texts(drawn)[1]


def test_without_a_reference_the_error_says_what_to_run(tmp_path):
    add_attack(tmp_path, "pets", 60, 50, pretrain="at", source="imagenet")
    with pytest.raises(EvaluationError, match="with and without pre-training") as error:
        drawing("2", tmp_path)
    assert error.value.hints[0].startswith("run: rt-train experiment=table2 pretrain=none dataset=")


def test_quickstart_points_have_intervals_and_the_caption_its_limits(tmp_path):
    drawn = drawing("quickstart", quickstart(tmp_path))
    row = next(r for r in drawn.rows if r[:5] == ("digits", 5, "at", "at", "ra"))
    assert row[5] == pytest.approx((279 - 237) / 3) and row[6] < row[5] < row[7]
    assert "1.23" in drawn.caption and "8x8" in drawn.caption and "same test images" in drawn.caption


def test_files_are_equal_bytes_without_times_and_name_their_stages(tmp_path):
    store = quickstart(tmp_path / "store")
    contents = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        written = drawings.write(drawing("quickstart", store), directory)
        contents.append({path.name: path.read_bytes() for path in written})
    assert contents[0] == contents[1]
    assert sorted(path.rsplit(".")[-1] for path in contents[0]) == ["csv", "md", "pdf", "png"]
    key = collect(store).runs[0].key
    with Image.open(tmp_path / "one" / "figure-quickstart.png") as image:
        information = image.info
    assert key in information["Description"] and "Software" not in information
    pdf = contents[0]["figure-quickstart.pdf"]
    assert key.encode() in pdf and b"CreationDate" not in pdf and matplotlib.__version__.encode() not in pdf
    assert key in contents[0]["figure-quickstart.md"].decode()
    plotted = list(csv.DictReader(io.StringIO(contents[0]["figure-quickstart.csv"].decode())))
    assert len(plotted) == 6 and all(key in row["source"] for row in plotted)


def test_drawing_leaves_the_backend_and_the_figures_of_a_notebook_alone(tmp_path):
    from matplotlib import pyplot

    pyplot.switch_backend("svg")
    try:
        drawings.write(drawing("2", tmp_path, "published"), tmp_path)
        assert matplotlib.get_backend() == "svg" and pyplot.get_fignums() == []
    finally:
        pyplot.switch_backend("agg")


def test_no_caption_is_in_the_picture_and_methods_are_written_as_papers_do(tmp_path):
    drawn = drawing("2", tmp_path, "published")
    drawings.write(drawn, tmp_path)
    assert drawn.caption in (tmp_path / "figure-2-published.md").read_text()
    with Image.open(tmp_path / "figure-2-published.png") as image:
        assert image.size == (920, 780)  # one panel and nothing under it


def test_a_slope_that_may_be_0_has_no_line(tmp_path):
    # RA changes by 10 points whatever SA does.
    for number, name in enumerate(("pets", "dtd", "cars", "aircraft", "cifar10")):
        add_attack(tmp_path, name, 100, 50, 200)
        add_attack(
            tmp_path,
            name,
            110 + 15 * number,
            (62, 58, 63, 57, 60)[number],
            200,
            pretrain="at",
            source="imagenet",
        )
    drawn = drawing("2", tmp_path)
    assert "AT, RA: slope" in drawn.caption
    with canvas.panels(*drawn.shape) as (_, axes):
        drawn.draw(axes)
        assert {
            len(line.get_xdata())
            for line in axes[0].lines
            if line.get_color() == canvas.style_of("at")["color"]
        } <= {1}


def test_labels_titles_and_legends_lie_in_the_picture_and_legends_beside_no_point(tmp_path):
    """The room around panels is given, not measured: it must hold what is drawn there."""
    with canvas.panels(2, 2) as (figure, axes):
        for axis in axes:
            for pretrain in ("none", "at", "cr", "st"):
                axis.errorbar([0, 1], [0.001, 1000], yerr=500, label=f"a name of some length, {pretrain}")
            axis.set(xlabel="x", ylabel="y", title="title", ylim=(-1000, 2000))
            canvas.legend(axis)
        canvas.lay_out(figure, axes, 2, 2)
        figure.canvas.draw()
        whole, boxes = figure.bbox, [axis.get_tightbbox() for axis in axes]
        legends = [axis.get_legend().get_window_extent() for axis in axes]
        panels = [axis.get_window_extent() for axis in axes]
        titles = [axis.title.get_window_extent() for axis in axes]
    assert all(whole.x0 <= b.x0 and b.x1 <= whole.x1 and whole.y0 <= b.y0 and b.y1 <= whole.y1 for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for panel, legend, title in zip(panels, legends, titles, strict=True):
        assert panel.y1 <= legend.y0 and legend.y1 <= title.y0


def test_a_long_interval_leaves_the_picture_and_a_short_one_does_not():
    """At the points' range beside them, or where all that is drawn ends."""
    points = [
        SimpleNamespace(gains={"sa": Estimate(0.1, 0.0, 0.2), "ra": Estimate(0.1, -0.1, 12.0)}),
        SimpleNamespace(gains={"sa": Estimate(0.3, 0.2, 0.4), "ra": Estimate(0.6, 0.5, 0.7)}),
    ]
    with canvas.panels(1, 1) as (_, (axis,)):
        for point in points:
            values = [100 * point.gains[name].value for name in ("sa", "ra")]
            errors = [gain_points.errors_of(point.gains[name]) for name in ("sa", "ra")]
            axis.errorbar(*values, xerr=errors[0], yerr=errors[1])
        drawn = axis.get_xlim()
        gain_points.keep_to_points(axis, points, "ra")
        assert axis.get_xlim() == pytest.approx(drawn)
        assert axis.get_ylim()[1] == pytest.approx(60 + 50)


@pytest.mark.slow
def test_a_metric_that_was_not_measured_has_no_panel_and_no_excuse(tmp_path):
    """Certificates of mode `decide` have no ACR."""
    table = tables.build("3", "runs", collect(study(tmp_path, tables=("3",))))
    results = {
        cell: dataclasses.replace(
            result,
            estimates={k: v for k, v in result.estimates.items() if k != "acr"},
            gains={k: v for k, v in result.gains.items() if k != "acr"},
        )
        for cell, result in table.results.items()
    }
    drawn = figures.figure(dataclasses.replace(table, results=results))
    assert drawn.shape == (1, 1) and "ACR" not in drawn.caption

import csv
import io

import pytest

from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import tables as output
from robust_transfer.report.study import tables
from robust_transfer.report.study.natural import DATASETS, EPS, SHOTS, SIGMA
from synthetic_store import add_attack, natural, quickstart, study


def built(name, store, source="runs"):
    return tables.build(name, source, collect(store))


def row_of(text, label):
    """Return the cells of the first Markdown row with a label."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(table):
    return list(csv.DictReader(io.StringIO(output.to_csv(table))))


def test_table_2_from_runs_with_known_accuracies(tmp_path):
    table = built("2", study(tmp_path, tables=("2",)))
    text = output.to_markdown(table)
    assert "| pets       |    73.0 |    63.5 |  87.0 |  78.5 |      88.5 |      74.5 |" in text
    pets = next(
        line for line in text.splitlines() if line.startswith("| pets ") and "1 pre-training x" in line
    )
    cells = [cell.strip() for cell in pets.strip("|").split("|")]
    assert cells[:5] == ["pets", "200", "1 pre-training x 1 seed", "87.0 [81.5, 91.3]", "78.5 [72.2, 84.0]"]
    flat = " ".join(text.split())
    assert "RA is lower with pre-training at, fine-tuning at: birdsnap -" in flat
    assert "| sets like these |" in flat and "| one more set |" in flat
    assert "missing" not in text
    [pets] = [r for r in rows(table) if (r["dataset"], r["pretrain"], r["metric"]) == ("pets", "at", "ra")]
    assert float(pets["value"]) == 78.5
    assert float(pets["gain"]) == pytest.approx(100 * (157 / 127 - 1))
    assert float(pets["gain_low"]) < float(pets["gain"]) < float(pets["gain_high"])
    assert (pets["pretrain_seconds"], pets["finetune_seconds"]) == ("600.0", "120.0")
    assert pets["commit"] == "0123456789ab" and len(pets["stages"]) == 12


@pytest.mark.parametrize("name", ["2", "3", "4", "5"])
def test_a_full_store_leaves_no_cell_empty_and_names_every_stage(tmp_path, name):
    store = study(tmp_path, tables=(name,), n=20)
    table = built(name, store)
    assert len(table.results) >= len(table.cells)
    text = output.to_markdown(table)
    assert "–" not in text.split("Cost")[0]
    keys = {run.key for run in collect(store).runs}
    assert all(key in text and key in output.to_latex(table) for key in keys)
    assert {r["stages"] for r in rows(table)} == keys


def test_table_5_is_marked(tmp_path):
    text = output.to_markdown(built("5", study(tmp_path, tables=("5",))))
    assert "| cifar10  |     8.5* |     5.5* |" in text
    assert "- * sigma mismatch" in text
    assert "   91.0 |    0.0 |   0.000 |" in text


def test_published_tables_are_the_studys(tmp_path):
    text = output.to_markdown(built("3", tmp_path, "published"))
    assert "| caltech101 |    62.8 |    58.3 |    1.019 |  78.6 |  76.0 |  1.339 |" in text
    assert {"+7.1", "+7.5", "+7.3"} <= set(row_of(text, "mean"))
    # The mean over sets like these of the relative gain in ACR: t over the twelve.
    assert "+7.3 [-0.2, +14.8]" in row_of(text, "sets like these")
    assert "Cost" not in text


@pytest.mark.parametrize(
    "name, command",
    [
        ("2", "rt-train experiment=table2 pretrain=simclr dataset=food101,cifar100,"),
        ("3", "rt-train experiment=table3 pretrain=cr dataset=food101,"),
        ("4", "rt-train experiment=table4 cell=simclr_cr dataset=cifar10,cifar100"),
        ("5", "rt-train experiment=table5 dataset=cifar10,cifar100"),
        ("quickstart", "rt-train experiment=quickstart"),
        ("natural4", "rt-train experiment=natural\n"),
    ],
)
def test_missing_cells_say_what_to_run(tmp_path, name, command):
    table = built(name, tmp_path)
    assert command in output.to_markdown(table)
    assert all(row["run"].startswith("rt-train ") and row["value"] == "" for row in rows(table))


def test_only_the_missing_sets_are_named(tmp_path):
    text = output.to_markdown(built("2", study(tmp_path, tables=("2",), datasets=("pets", "cars"))))
    assert "30 of 36 cells are missing" in text
    assert "pretrain=at dataset=food101,cifar100,cifar10,birdsnap,sun397,caltech256,aircraft,dtd," in text


def test_quickstart_fits_80_columns_and_says_its_limits(tmp_path):
    text = output.to_markdown(built("quickstart", quickstart(tmp_path)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "| at       | SA %   | 93.0 ± 1.0 |" in text
    assert "+14.0 [" in text  # 93 - 79
    flat = " ".join(text.split())
    assert "the largest possible radius is 1.23." in flat
    assert "8x8 digits" in flat and "faster convergence" in flat
    assert "seeds per cell: 3 (varied: fine-tuning); independent pre-trainings per cell: 1." in flat
    assert "holds for this pre-trained network, not for its method" in flat
    assert "| at       | at       |     600 s |     120 s |     12 s |      3 | cpu    |" in text


def test_latex_is_booktabs_with_escapes(tmp_path):
    text = output.to_latex(built("quickstart", quickstart(tmp_path)))
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"93.0 $\pm$ 1.0" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert all("%" not in line.replace(r"\%", "") for line in body)
    assert {line.count("&") for line in body if line.endswith(r"\\")} == {5}


def test_marks_have_symbols(tmp_path):
    add_attack(tmp_path, "digits", 60, 30, marks=["selected on test"], experiment="quickstart")
    marks = ["data not verified"]
    add_attack(tmp_path, "digits", 70, 40, pretrain="at", marks=marks, experiment="quickstart")
    table = built("4", tmp_path)
    assert table.ordered == []
    marks = tables.notes.symbols(built("quickstart", tmp_path).ordered)
    assert marks == {"data not verified": "*", "selected on test": "†"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("natural")
    return natural(folder, seeds=(0, 1), datasets=DATASETS, n=20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, cells, rows_shown",
    [("natural2", 36, 12), ("natural3", 36, 12), ("natural4", 72, 36), ("natural5", 24, 12)],
)
def test_the_natural_tables_are_full_and_laid_out_as_the_studys(photographs, name, cells, rows_shown):
    table = built(name, photographs)
    assert len(table.cells) == cells == len(table.ordered)
    grid, study_grid = (
        tables.main_grid(t) for t in (table, built(name.removeprefix("natural"), photographs, "published"))
    )
    headers = tuple(header.replace(f"{SIGMA:g}", "0.5") for header in grid.headers)
    assert headers == study_grid.headers and len(grid.rows) == rows_shown
    assert [row[0] for row in grid.rows[:: rows_shown // 12]] == [
        f"{d} {s}-shot" for d in DATASETS for s in SHOTS
    ]
    title = output.to_markdown(table).splitlines()[0]
    number = name.removeprefix("natural")
    assert title.startswith(f"## Table {number} on small photographs: ") and "8-pixel images" in title
    assert "with 16 channels, pre-training on tiny_imagenet" in title


def test_a_cell_is_the_mean_over_seeds_of_what_the_records_say(photographs):
    [row] = [
        r
        for r in rows(built("natural3", photographs))
        if (r["dataset"], r["shots"], r["pretrain"], r["metric"]) == ("faces", "20", "simclr", "ra")
    ]
    shares = []
    for key in row["stages"].split():
        [path] = photographs.glob(f"eval/*-{key}/records.csv")
        images = list(csv.DictReader(io.StringIO(path.read_text())))
        certified = [i["correct"] == "1" and float(i["radius"]) >= EPS for i in images]
        shares.append(100 * sum(certified) / len(images))
    assert len(shares) == 2 and float(row["value"]) == pytest.approx(sum(shares) / 2)


def test_the_quickstart_and_the_natural_study_stay_apart_in_one_store(tmp_path):
    natural(quickstart(tmp_path, seeds=(0,)), seeds=(0,), datasets=("digits",), n=20)
    table = built("quickstart", tmp_path)
    assert {r.num_images for r in table.ordered} == {100} and len(table.ordered) == 6
    assert {r.num_images for r in built("natural2", tmp_path).ordered} == {20}
    assert built("natural2", quickstart(tmp_path / "other", seeds=(0,))).ordered == []


def test_left_out_runs_are_listed(tmp_path):
    store = study(tmp_path, tables=("2",), datasets=("pets",))
    add_attack(store, "pets", 10, 5, pretrain="at", source="imagenet", settings={"num_steps": 3})
    text = output.to_markdown(built("2", store))
    assert "Left out (1):" in text and "num_steps=3 (table: 100)" in text


def test_mean_per_class_accuracy_stands_beside_where_kornblith_reports_it(tmp_path):
    table = built("2", study(tmp_path, tables=("2",)))
    text = output.to_markdown(table)
    [run] = [
        run
        for run in collect(tmp_path).runs
        if (run.dataset, run.lineage.pretrain, run.lineage.finetune) == ("pets", "at", "at")
    ]
    rows = list(csv.DictReader(io.StringIO((run.path / "records.csv").read_text())))
    labels = [row["label"] for row in rows]
    correct = [int(row["correct"]) for row in rows]
    classes = sorted(set(labels))
    means = [
        sum(c for label, c in zip(labels, correct, strict=True) if label == k) / labels.count(k)
        for k in classes
    ]
    assert f"mean per class, pets, at -> at: SA {100 * sum(means) / len(means):.1f}, RA" in text
    assert "mean per class, food101" not in text and "mean per class, cars" not in text


def test_acr_stands_with_its_caution_and_accuracies_without(tmp_path):
    store = study(tmp_path, tables=("2", "3"), datasets=("pets",), n=20)
    for write in (output.to_markdown, output.to_latex):
        texts = {name: write(built(name, store)) for name in ("2", "3")}
        assert "2410.06895" in texts["3"] and "2410.06895" not in texts["2"]

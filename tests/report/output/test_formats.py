import re

from hypothesis import given
from hypothesis import strategies as st

from robust_transfer.report.output.formats import comma_separated, escape, latex, markdown, page
from robust_transfer.report.study.blocks import Bullets, Code, Grid, Heading, Paragraph
from robust_transfer.report.study.wording import metric_text, percent


def test_markdown_columns_line_up():
    lines = markdown(
        Grid(("name", "value", "why"), (("a", "1.25", "x"), ("long name", "-10", "")), notes=1)
    ).splitlines()
    assert lines == [
        "| name      | value | why |",
        "| --------- | ----: | --- |",
        "| a         |  1.25 | x   |",
        "| long name |   -10 |     |",
    ]


def test_latex_alignment_follows_the_grid():
    assert r"\begin{tabular}{lrl}" in latex(Grid(("a", "b", "c"), (("1", "2", "3"),), notes=1))


def test_escape():
    assert escape("st_linear 5% ± σ") == r"st\_linear 5\% $\pm$ $\sigma$"


def test_csv_keeps_full_precision():
    assert (
        comma_separated(("a", "b", "c"), [[0.1 + 0.2, None, 'x,"y"']])
        == 'a,b,c\n0.30000000000000004,,"x,""y"""\n'
    )


def test_numbers():
    assert (percent(-0.049), percent(0.1, signed=True), percent(None)) == ("-4.9", "+10.0", "–")
    assert (metric_text("acr", 1.23456), metric_text("ra", 0.5)) == ("1.235", "50.0")


def test_a_page_wraps_text_and_keeps_tables_commands_and_its_heading_whole():
    long = "x" * 100
    blocks = [
        Heading("title " * 20),
        Paragraph(("word " * 30, "next")),
        Bullets(("word " * 30, "two")),
        Code((f"rt-train {long}",)),
        Grid(("a",), ((long,),)),
    ]
    heading, paragraph, items, code, table = page(blocks).rstrip("\n").split("\n\n")
    assert heading == "## " + "title " * 20
    assert max(map(len, paragraph.splitlines())) <= 80 and paragraph.splitlines()[-1] == "next"
    assert items.splitlines()[1].startswith("  word") and items.splitlines()[-1] == "- two"
    assert code == f"    rt-train {long}"
    assert table.splitlines()[2] == f"| {long} |"


def test_latex_groups_columns_and_sets_the_best_in_bold():
    grid = Grid(
        ("set", "none SA", "none RA", "at SA", "at RA"),
        (("a_b", "70.0", "50.0†", "80.0", "49.0"),),
        groups=(("none", 2), ("at", 2)),
        bold=frozenset({(0, 3), (0, 2), (0, 4)}),
    )
    text = latex(grid, caption="A & B", label="tab:x", below=["† selected on test", "± over 3 seeds"])
    lines = text.splitlines()
    rules = lines.index(r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}")
    assert lines[rules - 1] == r" & \multicolumn{2}{c}{none} & \multicolumn{2}{c}{at} \\"
    assert lines[rules + 1] == r"set & SA & RA & SA & RA \\"
    assert r"a\_b & 70.0 & \textbf{50.0\dag{}} & \textbf{80.0} & \textbf{49.0} \\" in lines
    assert r"\par\footnotesize \dag{} selected on test" in lines
    assert r"\par\footnotesize $\pm$ over 3 seeds" in lines


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_escaped_text_has_balanced_braces_and_no_command_of_its_own(text):
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[%_&#{}$]", "", escape(text))
    assert not set(plain) & set("%_&#{}$\\~^")

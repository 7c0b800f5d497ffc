"""The page in a real browser: axe-core finds nothing, nothing is wider than a phone, the scripts work."""

import html
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from robust_transfer.report.index.collect import collect
from robust_transfer.report.output.html import page
from synthetic_store import add_attack, quickstart

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = find_spec("axe_core_python")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
DARK = "--blink-settings=preferredColorScheme=0"
AUDIT = """
axe.run().then((found) => say(found.violations.map((v) => [v.id, v.nodes.map((n) => n.html).slice(0, 3)])));
"""
FRAME = """<iframe width=390 height=800 srcdoc="{}"></iframe><script>
onload = () => say(document.querySelector("iframe").contentDocument.documentElement.scrollWidth);
</script>"""
USE = """
const last = (of) => [...document.querySelectorAll(of)].at(-1);
const search = last("input[type=search]"), table = last("table.runs");
const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
const all = shown().length;
search.value = "certify digits";
search.dispatchEvent(new Event("input"));
const found = shown().map((row) => row.cells[0].textContent);
search.value = "";
search.dispatchEvent(new Event("input"));
const seed = table.tHead.rows[0].cells[3];
seed.firstChild.click();
const seeds = shown().map((row) => row.cells[3].textContent);
say({ all, found, seeds, sorted: seed.ariaSort, dark: matchMedia("(prefers-color-scheme: dark)").matches });
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    store = quickstart(tmp_path_factory.mktemp("page") / "runs", seeds=(0, 1))
    add_attack(store, "pets", 6, 3, 40, marks=["selected on test"])
    (store / "report").mkdir()
    return page(collect(store), store / "report")


def said(folder: Path, text: str, *options: str):
    """Open a page whose script calls say(value), and return the value."""
    say = "<script>say = (value) => document.body.setAttribute('data-said', JSON.stringify(value))</script>"
    (folder / "page.html").write_text(text.replace("<head>", f"<head>{say}", 1), encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'chromium'}",
    ]
    command += ["--virtual-time-budget=20000", "--dump-dom", *options, (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (value,) = re.findall(r'data-said="([^"]*)"', done.stdout)
    return json.loads(html.unescape(value))


@pytest.mark.skipif(AXE is None, reason="no axe-core-python")
@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
def test_axe_finds_nothing(text, options, tmp_path):
    axe = (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    opened = text.replace("<details>", "<details open>")
    assert said(tmp_path, f"{opened}<script>{axe}</script><script>{AUDIT}</script>", *options) == []


def test_nothing_is_wider_than_a_phone(text, tmp_path):
    assert said(tmp_path, f"<head></head>{FRAME.format(html.escape(text))}") <= 390


def test_runs_are_searched_and_sorted_and_dark_is_dark(text, tmp_path):
    output = said(tmp_path, f"{text}<script>{USE}</script>", DARK)
    assert output["found"] and set(output["found"]) == {"certify"} and len(output["found"]) < output["all"]
    assert output["seeds"] == sorted(output["seeds"]) and output["sorted"] == "ascending" and output["dark"]

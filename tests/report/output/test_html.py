import re
from html.parser import HTMLParser

import pytest

from robust_transfer.report.index.collect import collect
from robust_transfer.report.output.html import page
from synthetic_store import add_attack, natural, quickstart, study

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes["href"]] if "href" in attributes else []
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_every_link_leads_somewhere(tmp_path):
    store = study(quickstart(tmp_path / "runs"), tables=("2",), datasets=("pets", "cars"), n=40)
    add_attack(store, "pets", 6, 3, 40, shots=5, marks=["selected on test"])
    add_attack(store, "pets", 8, 3, 40, shots=10)
    directory = store / "report"
    directory.mkdir()
    text = page(collect(store), directory)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    for link in parser.links:
        assert link[1:] in parser.ids if link.startswith("#") else (directory / link).is_file(), link
    stages = {run.key for run in collect(store).runs}
    assert all(any(key in link for link in parser.links) for key in stages)
    assert {"found", "quickstart", "2", "claims", "flags", "runs", "shots", "figure-quickstart"} <= parser.ids
    assert not {"natural2", "findings"} & parser.ids
    assert "▼" in text and "selected on test" in text and 'name="viewport"' in text
    assert "newest evaluation: 2026-11-25" in text and "<code>" in text
    assert not re.search(r'(src|href)="https?:', text)
    assert page(collect(store), directory) == text


@pytest.mark.slow
def test_a_study_over_sets_has_its_tables_figures_and_findings(tmp_path):
    store = natural(tmp_path / "runs", seeds=(0,), datasets=("digits",), n=10)
    directory = store / "report"
    directory.mkdir()
    text = page(collect(store), directory)
    parser = Balanced()
    parser.feed(text)
    sections = {
        "natural2",
        "natural3",
        "natural4",
        "natural5",
        "figure-natural2",
        "figure-natural3",
        "findings",
    }
    assert sections <= parser.ids and not any(" " in name for name in parser.ids)
    assert "digits 5-shot" in text and "sets like these" in text
    assert parser.open == [] and "quickstart" not in parser.ids


def test_an_empty_store_has_a_page(tmp_path):
    parser = Balanced()
    parser.feed(page(collect(tmp_path), tmp_path))
    assert parser.open == []

"""Files below a folder, listed once per machine; paths in one block."""

from __future__ import annotations

import os
import pickle

import pytest

from robust_transfer.data import trees
from robust_transfer.data.texts import Texts


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder of long ago, with folders hidden and linked; small ones are kept too."""
    monkeypatch.setattr(trees, "MIN_FILES", 1)
    for file in ("top.txt", "a/1.jpg", "a/2.jpg", "b/deep/3.jpg", ".hidden/4.jpg", "__MACOSX/5.jpg"):
        path = tmp_path / "home/images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "elsewhere/inside").mkdir(parents=True)
    (tmp_path / "elsewhere/inside/6.jpg").write_text("")
    (tmp_path / "home/images/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "home/images")
    age(tmp_path)
    return tmp_path / "home"


def age(top, when=1):
    for folder, _, _ in os.walk(top, followlinks=False):
        os.utime(folder, (when, when))


FILES = {
    "images/top.txt",
    "images/a/1.jpg",
    "images/a/2.jpg",
    "images/b/deep/3.jpg",
    "images/linked/inside/6.jpg",
}


def test_a_listing_is_kept_and_made_anew_when_anything_came_or_went(tree, monkeypatch):
    walked, walk = [], trees._walk
    monkeypatch.setattr(trees, "_walk", lambda *of: walked.append(of) or walk(*of))

    def listed():
        walked.clear()
        return set(trees.files_below(tree, "images")), bool(walked)

    assert listed() == (FILES, True)
    assert listed() == (FILES, False)
    (tree.parent / "elsewhere/inside/7.jpg").write_text("")
    new = FILES | {"images/linked/inside/7.jpg"}
    assert listed() == (new, True)
    assert listed() == (new, True)  # it changed just now, and may again within the clock's tick
    age(tree.parent, when=2)
    assert listed() == (new, True) and listed() == (new, False)
    (tree / "images/a/1.jpg").unlink()
    assert listed() == (new - {"images/a/1.jpg"}, True)


def test_small_folders_are_not_kept_and_the_home_itself_may_be_asked_for(tree, monkeypatch):
    monkeypatch.setattr(trees, "MIN_FILES", 100)
    assert set(trees.files_below(tree, "images")) == FILES
    assert set(trees.files_below(tree / "images", "")) == {file.removeprefix("images/") for file in FILES}
    assert not (trees.cache_folder() / "folders").exists()


def test_texts_are_a_sequence_of_strings(tmp_path):
    words = ["", "a", "größer/☃.jpg", os.fsdecode(b"\xff.jpg"), "a"]
    texts = Texts(words)
    assert texts == words and words == texts and list(texts) == words and texts != words[:-1]
    assert (len(texts), texts[-1], texts[1:4], texts.index("a")) == (5, "a", words[1:4], 1)
    assert pickle.loads(pickle.dumps(texts)) == texts and Texts([]) == []
    with pytest.raises(IndexError):
        texts[5]

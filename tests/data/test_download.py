"""Downloads against a server on this machine: whole or not at all, resumed, each failure in its own words."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import random
import threading
from types import SimpleNamespace

import pytest

from robust_transfer.core.errors import DataError
from robust_transfer.data import download as module
from robust_transfer.data.download import download

BODY = random.Random(0).randbytes(3_000_000)
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/file serves ranges, /plain does not, /short breaks off, /html sends a page, else 404."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        kind, byte_range = self.path.strip("/"), self.headers.get("Range")
        self.server.asked.append(byte_range)
        if kind not in ("file", "plain", "short", "html"):
            self.send_error(404, "Not Found")
            return
        body = b"<!DOCTYPE html><p>sign in" if kind == "html" else BODY
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range and kind == "file" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[: len(body) // 2] if kind == "short" else body[start:]
        with contextlib.suppress(ConnectionError):  # the other side may have heard enough
            self.wfile.write(sent)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{running.server_port}", asked=running.asked)
        running.shutdown()
        thread.join()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole(server, tmp_path):
    download(f"{server.url}/file", tmp_path / "archives/x.tar", MD5)
    assert (tmp_path / "archives/x.tar").read_bytes() == BODY
    assert files(tmp_path / "archives") == ["x.tar"]


@pytest.mark.parametrize("then", ["file", "plain"])
def test_what_was_cut_off_goes_on_where_it_was(then, server, tmp_path):
    with pytest.raises(DataError, match=r"cut off after 1,500,000 of 3,000,000 bytes"):
        download(f"{server.url}/short", tmp_path / "x.tar", MD5)
    assert files(tmp_path) == [".x.tar.part"]
    download(f"{server.url}/{then}", tmp_path / "x.tar", MD5)
    assert (tmp_path / "x.tar").read_bytes() == BODY and files(tmp_path) == ["x.tar"]
    assert server.asked == [None, "bytes=1500000-"]


def test_a_download_that_was_killed_at_its_last_byte_is_renamed(server, tmp_path):
    (tmp_path / ".x.tar.part").write_bytes(BODY)
    download(f"{server.url}/file", tmp_path / "x.tar", MD5)
    assert files(tmp_path) == ["x.tar"]


@pytest.mark.parametrize(
    ("path", "md5", "message"),
    [
        ("html", MD5, "did not send the published file .* it is a web page"),
        ("file", "0" * 32, f"did not send the published file .*expected md5 0+, found {MD5}"),
        ("gone", MD5, r"answers 404 \(Not Found\)"),
    ],
)
def test_what_is_not_the_file_leaves_nothing(path, md5, message, server, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        download(f"{server.url}/{path}", tmp_path / "x.tar", md5)
    assert files(tmp_path) == [] and str(tmp_path / "x.tar") in caught.value.hints[0]


def test_no_connection_is_said_as_such(tmp_path):
    with pytest.raises(DataError, match=r"no connection to http://127\.0\.0\.1:1/x"):
        download("http://127.0.0.1:1/x", tmp_path / "x.tar", MD5)


def test_a_disk_that_is_too_small_is_seen_before_the_first_byte(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"no room on the disk .*0\.0 GB to come"):
        download(f"{server.url}/file", tmp_path / "x.tar", MD5)
    assert files(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_came(server, tmp_path, monkeypatch):
    def full(*args):
        (tmp_path / ".x.tar.part").write_bytes(BODY[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_append", full)
        with pytest.raises(DataError, match=r"no room on the disk .*No space left on device"):
            download(f"{server.url}/file", tmp_path / "x.tar", MD5)
    download(f"{server.url}/file", tmp_path / "x.tar", MD5)
    assert server.asked[-1] == "bytes=500-" and (tmp_path / "x.tar").read_bytes() == BODY

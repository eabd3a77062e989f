"""Downloads from a server on this machine: cut, resumed, altered, refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedlib.data import download as module
from fedlib.data.download import download
from fedlib.errors import InputError

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; cuts the first ``cuts`` answers in the middle; notes what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts, self.ranges, self.status = 0, True, 200
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/ml.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if self.server.status != 200 or start >= len(CONTENT):
            self.send_response(416 if self.server.status == 200 else self.server.status)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT)
        if self.server.cuts:
            self.server.cuts -= 1
            end = (start + end) // 2
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_whole_download(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "ml.zip"
    assert download(server.url, target, MD5) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["ml.zip"]
    assert capsys.readouterr() == ("", "")  # no bar where nobody looks


def test_a_connection_cut_on_the_way_is_resumed_from_there(server: Server, tmp_path: Path) -> None:
    server.cuts = 1
    assert download(server.url, tmp_path / "ml.zip", MD5).read_bytes() == CONTENT
    first, second = server.asked
    assert first == "bytes=0-"
    assert second is not None
    kept = int(second.removeprefix("bytes=").removesuffix("-"))
    assert len(CONTENT) // 4 < kept <= len(CONTENT) // 2  # a last chunk that did not fill may be asked for again


def test_the_next_call_goes_on_where_the_last_one_gave_up(server: Server, tmp_path: Path) -> None:
    target, server.cuts = tmp_path / "ml.zip", module.ATTEMPTS
    with pytest.raises(InputError, match="try again to go on") as raised:
        download(server.url, target, MD5)
    assert "\n" not in str(raised.value)
    assert not target.exists()
    have = (tmp_path / "ml.zip.part").stat().st_size
    assert 0 < have < len(CONTENT)
    assert download(server.url, target, MD5).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={have}-"


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = 1, False
    assert download(server.url, tmp_path / "ml.zip", MD5).read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_checked_and_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml.zip.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "ml.zip", MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"something else", CONTENT + b"more"])
def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "ml.zip.part").write_bytes(part)
    with pytest.raises(InputError, match=f"{server.url} gave a file with MD5 .*removed") as raised:
        download(server.url, tmp_path / "ml.zip", MD5 if part else "0" * 32)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_the_address_and_where_to_put_the_file(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(InputError) as raised:
        download(server.url, tmp_path / "ml.zip", MD5)
    assert server.url in str(raised.value)
    assert "404" in str(raised.value)
    assert f"at {tmp_path / 'ml.zip'} yourself" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/ml.zip"  # the discard port: nobody listens
    with pytest.raises(InputError, match=r"could not fetch http://127\.0\.0\.1:9/ml\.zip") as raised:
        download(url, tmp_path / "ml.zip", MD5)
    assert f"at {tmp_path / 'ml.zip'} yourself" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="could not write"):
        download(server.url, tmp_path / "file" / "ml.zip", MD5)

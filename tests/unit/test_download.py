"""Downloads against a server on this machine that can misbehave: whatever happens, the cache is whole or empty."""

import hashlib
import io
import os
import stat
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unet_lab.data import download
from unet_lab.data.download import DownloadError, archive_folder, cache_folder, fetch_archive


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256_of(content):
    return hashlib.sha256(content).hexdigest()


GOOD = zipped([("data/readme.txt", "hello"), ("data/images/a.txt", "pixels" * 5000), ("data/empty/", "")])


class Server:
    """Answers each request with the next of `answers` (the last for ever): a function of the request handler."""

    def __init__(self):
        self.answers, self.requests, self.lock = [send(GOOD)], 0, threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with owner.lock:
                    answer = owner.answers[min(owner.requests, len(owner.answers) - 1)]
                    owner.requests += 1
                answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_address[1]}/data.zip"

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def send(content, length=None):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def fail(status):
    return lambda handler: handler.send_error(status)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("UNET_LAB_CACHE", str(folder))
    return folder


def fetch(server, content=GOOD, url=None, **options):
    options = {"timeout": 5.0, "attempts": 1, "progress": False, **options}
    return fetch_archive(url or server.url, sha256_of(content), name="shapes", **options)


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_empty_then_recovers(server, cache):
    assert not cache.exists() or list(cache.iterdir()) == []
    server.answers = [send(GOOD)]
    assert (fetch(server) / "data/readme.txt").read_text() == "hello"


def test_archive_is_unpacked_and_nothing_else_stays(server, cache):
    folder = fetch(server)
    assert folder == archive_folder("shapes", sha256_of(GOOD))
    assert folder.parent == cache
    assert files_of(folder) == ["data", "data/empty", "data/images", "data/images/a.txt", "data/readme.txt"]
    assert (folder / "data/images/a.txt").read_text() == "pixels" * 5000
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_second_time_nothing_is_asked(server, cache):
    assert fetch(server) == fetch(server)
    assert server.requests == 1


def test_another_release_gets_another_folder(server, cache):
    old = fetch(server)
    newer = zipped([("data/readme.txt", "newer")])
    server.answers = [send(newer)]
    new = fetch(server, newer)
    assert (old / "data/readme.txt").read_text() == "hello"
    assert (new / "data/readme.txt").read_text() == "newer"


def test_progress_goes_to_stderr(server, cache, capfd):
    fetch(server, progress=True)
    out, err = capfd.readouterr()
    assert "100%" in err
    assert out == ""


def test_cut_transfer(server, cache):
    server.answers = [send(GOOD[:100], length=len(GOOD))]
    with pytest.raises(
        DownloadError, match=r"shapes from http://127.*cut before its end.*Check the network.*root=FOLDER"
    ):
        fetch(server)
    assert_empty_then_recovers(server, cache)


def test_cut_transfer_without_a_length(server, cache):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(GOOD[:100])

    server.answers = [answer]
    with pytest.raises(DownloadError, match="not the published file: 100 bytes"):
        fetch(server)
    assert_empty_then_recovers(server, cache)


def test_wrong_checksum(server, cache):
    other = zipped([("data/readme.txt", "not what was published")])
    server.answers = [send(other)]
    with pytest.raises(
        DownloadError, match=rf"sha256 {sha256_of(other)}, expected sha256 {sha256_of(GOOD)}.*newer unet-lab"
    ):
        fetch(server, attempts=3)
    assert server.requests == 1
    assert_empty_then_recovers(server, cache)


def test_login_page_in_place_of_the_file(server, cache):
    server.answers = [send(b"\n <!DOCTYPE html><title>Campus WLAN</title>")]
    with pytest.raises(DownloadError, match="looks like a web page, perhaps the login page"):
        fetch(server)
    assert_empty_then_recovers(server, cache)


@pytest.mark.parametrize(
    ("status", "requests", "words"),
    [
        (404, 1, r"404 \(Not Found\)\. The file may have moved"),
        (403, 1, "403"),
        (500, 3, "500 .*Try again later"),
        (429, 3, "429"),
    ],
)
def test_error_status(server, cache, status, requests, words):
    server.answers = [fail(status)]
    with pytest.raises(DownloadError, match=words):
        fetch(server, attempts=3)
    assert server.requests == requests  # what cannot mend itself is not asked again
    assert_empty_then_recovers(server, cache)


def test_passing_trouble_is_tried_again(server, cache, caplog):
    server.answers = [fail(503), send(GOOD[:100], length=len(GOOD)), send(GOOD)]
    assert (fetch(server, attempts=3) / "data/readme.txt").read_text() == "hello"
    first, second = [record.getMessage() for record in caplog.records]
    assert "503" in first
    assert "attempt 2 of 3 follows" in first
    assert "cut before its end" in second
    assert "attempt 3 of 3 follows" in second


def test_pauses_grow(server, cache, monkeypatch):
    pauses = []
    monkeypatch.setattr(download, "PAUSE_SECONDS", 2.0)
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.answers = [fail(500)]
    with pytest.raises(DownloadError):
        fetch(server, attempts=3)
    assert pauses == [2.0, 4.0]


def test_no_network(server, cache):
    gone = Server()
    url = gone.url
    gone.close()
    with pytest.raises(
        DownloadError, match=r"no connection to the server.*No network here\?.*load\('shapes', root=FOLDER\)"
    ):
        fetch(server, url=url, attempts=2)
    assert_empty_then_recovers(server, cache)


@pytest.mark.parametrize("sent", [0, 100])
def test_silent_server(server, cache, sent):
    done = threading.Event()

    def answer(handler):
        if sent:
            send(GOOD[:sent], length=len(GOOD))(handler)
        done.wait(10)

    server.answers = [answer]
    start = time.perf_counter()
    with pytest.raises(DownloadError, match="did not answer in time"):
        fetch(server, timeout=0.1)
    assert time.perf_counter() - start < 5
    done.set()
    assert_empty_then_recovers(server, cache)


def symbolic_link():
    entry = zipfile.ZipInfo("data/link")
    entry.create_system = 3  # Unix: the attributes' upper half is the mode
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "entry",
    ["../outside.txt", "data/../../outside.txt", "/outside.txt", "C:/outside.txt", "..\\outside.txt", symbolic_link()],
    ids=str,
)
def test_entry_that_leaves_the_folder(server, cache, entry):
    bad = zipped([("data/readme.txt", "hello"), (entry, "/etc")])
    server.answers = [send(bad)]
    with pytest.raises(DownloadError, match=r"the archive's entry '.*' would be written outside"):
        fetch(server, bad)
    assert files_of(cache.parent) == ["cache"]
    assert_empty_then_recovers(server, cache)


def test_dots_inside_a_name_are_no_way_out(server, cache):
    dotted = zipped([("data/a..b.txt", "fine"), ("data/..c.txt", "fine")])
    server.answers = [send(dotted)]
    assert files_of(fetch(server, dotted)) == ["data", "data/..c.txt", "data/a..b.txt"]


def test_not_an_archive(server, cache):
    server.answers = [send(b"plain text")]
    with pytest.raises(DownloadError, match="not a zip archive"):
        fetch(server, b"plain text")
    assert_empty_then_recovers(server, cache)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_entry(server, cache, method):
    start = 30 + len("data/a")  # a zip entry's header, then its name, then its content
    whole = zipped([("data/a", "content of the entry")], method)
    damaged = whole[:start] + b"\xff\xff" + whole[start + 2 :]
    server.answers = [send(damaged)]
    with pytest.raises(DownloadError, match="not a zip archive that can be read"):
        fetch(server, damaged)
    assert_empty_then_recovers(server, cache)


def test_cache_below_a_file(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("UNET_LAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match=r"cache folder .*cannot be written .*UNET_LAB_CACHE"):
        fetch(server)
    assert server.requests == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_cache_without_leave_to_write(server, cache):
    cache.mkdir()
    cache.chmod(0o500)
    try:
        with pytest.raises(DownloadError, match="cannot be written"):
            fetch(server)
    finally:
        cache.chmod(0o700)
    assert_empty_then_recovers(server, cache)


@pytest.mark.parametrize("where", ["_download", "_unpack"])
def test_full_disk(server, cache, monkeypatch, where):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download, where, full)
        with pytest.raises(DownloadError, match=r"cannot be written \(No space left on device\)\. Free some space"):
            fetch(server)
    assert_empty_then_recovers(server, cache)


def test_interrupted_by_hand(server, cache, monkeypatch):
    def interrupt(archive, *args, **options):
        assert archive.stat().st_size == len(GOOD)  # the download has finished when Ctrl-C comes
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_check", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(server)
    assert_empty_then_recovers(server, cache)


def test_two_at_once(server, cache):
    """Both are made to download at the same time; both get the folder, and it holds one whole copy."""
    both = threading.Barrier(2, timeout=5)

    def answer(handler):
        both.wait()
        send(GOOD)(handler)

    server.answers = [answer]
    results = []

    def work():
        results.append(fetch(server))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [archive_folder("shapes", sha256_of(GOOD))] * 2
    assert server.requests == 2
    assert [path.name for path in cache.iterdir()] == [results[0].name]
    assert (results[0] / "data/readme.txt").read_text() == "hello"


def test_leavings_of_a_killed_process_go_after_a_day(server, cache):
    old, young, foreign = cache / ".shapes-old.part", cache / ".shapes-young.part", cache / ".other-old.part"
    for folder in (old, young, foreign):
        folder.mkdir(parents=True)
        (folder / "archive.zip").write_bytes(b"half")
    for folder in (old, foreign):
        os.utime(folder, (time.time() - 2 * 24 * 3600,) * 2)
    fetch(server)
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("UNET_LAB_CACHE", "~/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / "data"
    monkeypatch.delenv("UNET_LAB_CACHE")
    assert "unet-lab" in str(cache_folder())
    assert cache_folder().is_absolute()

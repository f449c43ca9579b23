"""Fetching from a local server, resuming, checking, unpacking safely; no outside network."""

import dataclasses
import hashlib
import http.server
import io
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from adlib.datasets import archives, download

CONTENT = bytes(range(256)) * 2000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one body; `ranges` and `stop_after` make it a better or a worse server."""

    body, ranges, stop_after = CONTENT, True, None

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        start = 0
        if self.ranges and (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(match[1])
        if start >= len(self.body) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            end = len(self.body) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(self.body)}")
        self.send_header("Content-Length", str(len(self.body) - start))
        self.end_headers()
        self.wfile.write(self.body[start : self.stop_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(**attributes):
        handler = type("Configured", (Handler,), attributes)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_address[1]}/file"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def dead_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/file"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


@pytest.fixture
def publish(monkeypatch):
    """Replace the entry 'mvtec' of the table of archives."""

    def change(**fields):
        fields = {"filename": "a.zip", "sha256": None, "marker": "bottle"} | fields
        entry = dataclasses.replace(archives.ARCHIVES["mvtec"], **fields)
        monkeypatch.setitem(archives.ARCHIVES, "mvtec", entry)
        return entry

    return change


def test_fetch_whole_file(tmp_path, serve):
    server, url = serve()
    download.fetch(url, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_fetch_resumes_where_it_was_cut_off(tmp_path, serve):
    _, broken = serve(stop_after=100_000)
    with pytest.raises(OSError, match="100000 of 512000"):
        download.fetch(broken, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    server, url = serve()
    download.fetch(url, tmp_path / "f")
    assert server.asked == ["bytes=100000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_fetch_starts_over_on_a_server_without_ranges(tmp_path, serve):
    (tmp_path / "f.part").write_bytes(b"x" * 100)
    server, url = serve(ranges=False)
    download.fetch(url, tmp_path / "f")
    assert server.asked == ["bytes=100-"]
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize(("extra", "requests"), [(b"", 1), (b"too long", 2)])
def test_fetch_when_the_part_is_already_complete_or_too_long(tmp_path, serve, extra, requests):
    (tmp_path / "f.part").write_bytes(CONTENT + extra)
    server, url = serve()
    download.fetch(url, tmp_path / "f")
    assert len(server.asked) == requests
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_download_checks_unpacks_and_then_leaves_alone(tmp_path, serve, publish, capsys, monkeypatch):
    monkeypatch.setitem(download.PUBLISHED, "mvtec", ("bottle",))
    body = zipped("top/readme.txt", "top/bottle/train/good/000.png")
    server, url = serve(body=body)
    publish(urls=(dead_url(), url), sha256=hashlib.sha256(body).hexdigest())
    home = download.download("mvtec", tmp_path)
    assert home == tmp_path / "mvtec"
    assert (home / "bottle/train/good/000.png").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "mvtec"]
    text = capsys.readouterr().out
    assert text.index("CC BY-NC-SA 4.0") < text.index("ready:")
    assert "Bergmann" in text
    assert download.download("mvtec", tmp_path) == home
    assert len(server.asked) == 1
    monkeypatch.setitem(download.PUBLISHED, "mvtec", ("bottle", "cable"))
    with pytest.raises(download.DownloadError, match=rf"{home} is there, but lacks cable: .* move it away"):
        download.download("mvtec", tmp_path)


def test_an_archive_put_there_needs_no_network(tmp_path, publish, capsys):
    publish(urls=())
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/a.zip").write_bytes(zipped("bottle/train/good/000.png"))
    assert download.main(["mvtec", "--root", str(tmp_path)]) == 0
    assert (tmp_path / "mvtec/bottle").is_dir()
    found = hashlib.sha256((tmp_path / "archives/a.zip").read_bytes()).hexdigest()
    assert found in capsys.readouterr().out
    assert (tmp_path / "archives/a.zip.sha256").read_text() == f"{found}  a.zip\n"


def test_without_a_network_the_error_says_what_where_and_the_command(tmp_path, publish, capsys):
    url = dead_url()
    entry = publish(urls=(url,))
    assert download.main(["mvtec", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    place = tmp_path / "archives/a.zip"
    for part in (f"put a.zip ({url}) at {place}", entry.homepage, "refused"):
        assert part in error
    assert f"python -m adlib.datasets.download mvtec --root {tmp_path}" in error


@pytest.mark.parametrize("dataset", ["mpdd", "eyecandies", "aitex"])
def test_without_an_address_the_error_says_how_by_hand(tmp_path, dataset):
    entry = archives.ARCHIVES[dataset]
    with pytest.raises(download.DownloadError, match="no direct address") as error:
        download.download(dataset, tmp_path)
    place = entry.filename or f"{dataset}/{entry.marker}"
    for part in (entry.homepage, entry.note, place):
        assert part in str(error.value)


def test_a_wrong_checksum_keeps_nothing_usable(tmp_path, serve, publish):
    _, url = serve(body=zipped("bottle/x"))
    publish(urls=(url,), sha256="0" * 64)
    with pytest.raises(download.DownloadError, match=r"SHA-256 expected 0{64}, found [0-9a-f]{64}"):
        download.download("mvtec", tmp_path)
    assert [path.name for path in (tmp_path / "archives").iterdir()] == ["a.zip.bad"]
    assert not (tmp_path / "mvtec").exists()


def test_a_web_page_in_place_of_an_archive(tmp_path, serve, publish):
    _, url = serve(body=b"<html>please fill in the form</html>")
    publish(urls=(url,))
    with pytest.raises(download.DownloadError, match="not a complete zip or tar") as error:
        download.download("mvtec", tmp_path)
    assert "By hand, from https://www.mvtec.com" in str(error.value)
    assert not (tmp_path / "archives/a.zip").exists()
    assert not (tmp_path / "mvtec").exists()


def test_another_archive_and_an_occupied_place(tmp_path, publish):
    publish(urls=())
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/a.zip").write_bytes(zipped("candle/1.png"))
    with pytest.raises(download.DownloadError, match=r"holds no bottle.* it holds: candle/"):
        download.download("mvtec", tmp_path)
    (tmp_path / "mvtec").mkdir()
    with pytest.raises(download.DownloadError, match="move it away"):
        download.download("mvtec", tmp_path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_is_unpacked_with_usable_permissions(tmp_path, mode):
    with tarfile.open(tmp_path / "a", mode) as archive:
        folder = tarfile.TarInfo("./data")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o500
        archive.addfile(folder)
        info = tarfile.TarInfo("data/1.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    (tmp_path / "out").mkdir()
    download.extract(tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out/data/1.png").read_bytes() == b"abc"
    assert (tmp_path / "out/data").stat().st_mode & 0o200


@pytest.mark.parametrize("name", ["../evil", "/tmp/adlib_evil", "a/../../evil", "C:\\evil", "..\\x"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_member_leaves_the_target(tmp_path, kind, name):
    file, out = tmp_path / "a", tmp_path / "deep/out"
    out.mkdir(parents=True)
    if kind == "zip":
        file.write_bytes(zipped(name))
    else:
        with tarfile.open(file, "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(download.DownloadError, match="outside the target folder"):
        download.extract(file, out)
    assert list(out.iterdir()) == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "deep", "out"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_no_link_or_device_from_a_tar(tmp_path, kind):
    with tarfile.open(tmp_path / "a", "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(download.DownloadError, match="neither a file nor a folder"):
        download.extract(tmp_path / "a", tmp_path)


def test_no_link_from_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(download.DownloadError, match="neither a file nor a folder"):
        download.extract(tmp_path / "a", tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_truncated_tar_is_an_error(tmp_path, mode):
    with tarfile.open(tmp_path / "whole", mode) as archive:
        info = tarfile.TarInfo("1.png")
        noise = hashlib.shake_128(b"").digest(100_000)
        info.size = len(noise)
        archive.addfile(info, io.BytesIO(noise))
    (tmp_path / "a").write_bytes((tmp_path / "whole").read_bytes()[:50_000])
    with pytest.raises(download.DownloadError, match="not a complete zip or tar"):
        download.extract(tmp_path / "a", tmp_path)


def test_the_table_of_archives_is_complete():
    for name, entry in archives.ARCHIVES.items():
        assert entry.dataset == name
        assert entry.licence
        assert entry.cite
        assert entry.homepage.startswith("https://")
        assert entry.homepage not in entry.urls  # where to look when these are gone
        assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.urls or entry.note
        assert all(url.startswith(("https://", "http://")) for url in entry.urls)


def test_list_and_unknown_names(capsys):
    assert download.main([]) == 0
    assert "visa" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"unknown dataset 'imagenet'\. Known: aitex, btad"):
        download.download("imagenet")


def test_importing_the_datasets_does_not_import_the_downloader():
    code = "import adlib.datasets, sys; print('adlib.datasets.download' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_disk_that_is_full_is_one_line(tmp_path, publish, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path))

    publish(urls=("http://nowhere.invalid/a.zip",))
    monkeypatch.setattr(download, "fetch", full)
    assert download.main(["mvtec", "--root", str(tmp_path)]) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_a_data_root_that_is_a_file_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert download.main(["mvtec", "--root", str(tmp_path / "file")]) == 1
    assert f"the data root {tmp_path / 'file'} is a file: name a folder" in capsys.readouterr().err


def test_two_at_once_fetch_it_once(tmp_path, publish, monkeypatch):
    asked, first = [], threading.Event()

    def slow(url, target):
        asked.append(url)
        first.set()
        time.sleep(0.2)
        target.write_bytes(zipped("bottle/train/good/0.png"))

    publish(urls=("http://nowhere.invalid/a.zip",))
    monkeypatch.setattr(download, "fetch", slow)
    monkeypatch.setattr(download.lease, "alone", partial(download.lease.alone, poll=0.02))
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(download.download, "mvtec", tmp_path)
        assert first.wait(10)
        other = pool.submit(download.download, "mvtec", tmp_path)
        assert one.result() == other.result() == tmp_path / "mvtec"
    assert len(asked) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "mvtec"]

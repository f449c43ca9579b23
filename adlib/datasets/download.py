"""Fetch a published dataset: `python -m adlib.datasets.download mvtec --root ~/data`.

An archive that already lies in `<data root>/archives` is used as it is, without a network. One
that has to be fetched is resumed where an earlier attempt stopped, checked against its SHA-256
where one is known, and unpacked beside its place before it takes it: a dataset's folder is either
complete or absent. Nothing here runs at import.
"""

import argparse
import errno
import gzip
import lzma
import shlex
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tqdm import tqdm

from adlib import lease
from adlib.errors import check_known
from adlib.files import sha256

from . import PUBLISHED, categories
from .archives import ARCHIVES, Archive
from .table import data_root, found_in

CHUNK = 1 << 20  # bytes read at a time
TIMEOUT = 60  # seconds without an answer
# Python 3.11.4 and later; before it there is none, and what it refuses is refused here.
FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
OWN_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}  # of these errors no other address is a cure
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error),
    EOFError,
)


class DownloadError(RuntimeError):
    """A dataset that did not arrive, with what to do about it."""


def download(dataset: str, root: str | Path | None = None) -> Path:
    """Fetch, check and unpack a dataset into `<data root>/<dataset>`, and return that folder.

    Prints the licence first. A folder that is already there is left alone; one that lacks categories is a
    DownloadError, as is everything that leaves the dataset absent; a disk that is full or may not be written is an
    OSError. Raises ValueError for an unknown name.
    """
    check_known("dataset", dataset, ARCHIVES)
    archive = ARCHIVES[dataset]
    base = data_root(root)
    home = base / dataset
    if base.exists() and not base.is_dir():
        raise DownloadError(f"the data root {base} is a file: name a folder, by --root or ADLIB_DATA")
    print(f"{archive.title}\n  licence: {archive.licence}\n  cite: {archive.cite}")
    print(f"  page: {archive.homepage}", flush=True)
    if (home / archive.marker).exists():
        here = categories(dataset, base) if dataset in PUBLISHED else []  # DTD has none
        if lacking := sorted(set(PUBLISHED.get(dataset, ())) - set(here)):
            raise DownloadError(
                f"{home} is there, but lacks {', '.join(lacking)}: put them there, or move it away and run again to "
                "have all of it"
            )
        print(f"already there: {home}")
        return home
    if home.exists():
        raise DownloadError(
            f"{home} exists, but holds no {archive.marker}: move it away and run again. It holds: {found_in(home)}"
        )
    file = base / "archives" / archive.filename
    if not archive.filename or (not file.exists() and not archive.urls):
        raise DownloadError(f"{archive.title} has no direct address. {_by_hand(archive, base)}")
    with lease.alone(base / f".{dataset}.lease"):  # another process may be fetching it just now
        if not (home / archive.marker).exists():
            if not file.exists():
                _fetch_any(archive, file, base)
            _verify(archive, file, base)
            _install(archive, file, home, base)
    print(f"ready: {home}")
    return home


def fetch(url: str, target: Path) -> None:
    """Download to `<target>.part`, going on from what is already there, and rename at the end.

    A server that does not know ranges is read from the start. Raises OSError or HTTPException;
    what has arrived by then stays for the next attempt.
    """
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "adlib"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # nothing after what we have: either all of it, or the remains of another file
        if error.headers.get("Content-Range") == f"bytes */{have}":
            part.replace(target)
            return
        part.unlink()
        return fetch(url, target)
    with response:
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"{url} answered with another range than the one asked for")
        left = response.headers.get("Content-Length")
        total = None if left is None else have + int(left)
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=target.name) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    size = part.stat().st_size
    if total is not None and size != total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")
    part.replace(target)


def extract(file: Path, target: Path) -> None:
    """Unpack a zip or tar archive into an existing folder.

    Refuses, with DownloadError, every member that is absolute, climbs with '..' or is neither a
    file nor a folder: pictures need no links, and a link is how an archive leaves its folder.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    kind = info.external_attr >> 28  # top four bits of the Unix mode
                    _refuse_unsafe(file, info.filename, plain=kind in (0, 0o4, 0o10))
                    archive.extract(info, target)
            return
        # one pass: listing a compressed tar first would decompress gigabytes twice
        with tarfile.open(file) as archive:
            for member in archive:
                _refuse_unsafe(file, member.name, plain=member.isfile() or member.isdir())
                member.mode = 0o755 if member.isdir() else 0o644  # MVTec AD's folders are not writable
                archive.extract(member, target, **FILTER)
    except BROKEN as error:
        raise DownloadError(f"{file} is not a complete zip or tar archive ({error})") from error


def _refuse_unsafe(file: Path, name: str, plain: bool) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise DownloadError(f"{file} refused: its member {name!r} lies outside the target folder")
    if not plain:
        raise DownloadError(f"{file} refused: its member {name!r} is neither a file nor a folder")


def _fetch_any(archive: Archive, file: Path, base: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in archive.urls:
        try:
            return fetch(url, file)
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in OWN_DISK:
                raise
            failures.append(f"{url}: {error}")
    tried = "\n  ".join(failures)
    raise DownloadError(f"{archive.filename} could not be fetched:\n  {tried}\n{_by_hand(archive, base)}")


def _verify(archive: Archive, file: Path, base: Path) -> None:
    found = sha256(file)
    if archive.sha256 is None:
        print(f"no SHA-256 is published; that of {file.name} is {found}")
        file.with_name(file.name + ".sha256").write_text(f"{found}  {file.name}\n")
    elif found != archive.sha256:
        bad = file.replace(file.with_name(file.name + ".bad"))
        raise DownloadError(
            f"{file.name} is not the published file: SHA-256 expected {archive.sha256}, found "
            f"{found}; kept as {bad}. {_by_hand(archive, base)}"
        )


def _install(archive: Archive, file: Path, home: Path, base: Path) -> None:
    with tempfile.TemporaryDirectory(dir=base, prefix=f".{home.name}-") as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        try:
            extract(file, tree)
        except DownloadError as error:
            bad = file.replace(file.with_name(file.name + ".bad"))
            raise DownloadError(f"{error}; kept as {bad}. {_by_hand(archive, base)}") from error
        hits = [hit for depth in ("", "*/", "*/*/") for hit in sorted(tree.glob(depth + archive.marker))]
        if not hits:
            raise DownloadError(
                f"{file} holds no {archive.marker}, so it is not {archive.title}; it holds: {found_in(tree)}"
            )
        hits[0].parent.replace(home)


def _by_hand(archive: Archive, base: Path) -> str:
    again = f"python -m adlib.datasets.download {archive.dataset} --root {shlex.quote(str(base))}"
    lines = [f"By hand, from {archive.homepage}:"]
    if archive.note:
        lines.append(archive.note)
    if archive.filename:
        source = f" ({archive.urls[0]})" if archive.urls else ""
        lines.append(f"put {archive.filename}{source} at {base / 'archives' / archive.filename}")
        lines.append(f"and run again: {again}")
    else:
        lines.append(f"so that this folder exists: {base / archive.dataset / archive.marker}")
    return "\n  ".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; without a dataset lists what there is. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m adlib.datasets.download", description=__doc__)
    parser.add_argument("dataset", nargs="?", choices=sorted(ARCHIVES))
    parser.add_argument("--root", help="data root; default: ADLIB_DATA, else a cache folder")
    options = parser.parse_args(arguments)
    if options.dataset is None:
        for archive in ARCHIVES.values():
            print(f"{archive.dataset:12} {archive.title}; licence: {archive.licence}")
        return 0
    try:
        download(options.dataset, options.root)
    except (DownloadError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Fetch a published archive once, check it, unpack it, keep it in the cache folder.

Everything happens under a temporary name inside the cache: the archive is downloaded, its sha256 compared, its
entries unpacked, and only then is the folder renamed to its final name. So a folder with the final name is whole,
and a cut, wrong or interrupted download leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

logger = logging.getLogger("unet_lab")

CACHE_VARIABLE = "UNET_LAB_CACHE"
PAUSE_SECONDS = 1.0  # before the second attempt; twice that before the third, and so on
STALE_SECONDS = 24 * 3600


class DownloadError(RuntimeError):
    """A data set could not be fetched. The message says what was fetched, what happened, and what to do."""


def cache_folder() -> Path:
    """The folder that holds downloaded data; it may not exist yet.

    The environment variable UNET_LAB_CACHE, or else the folder "unet-lab" where the system keeps a user's caches.
    """
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    import pooch  # here, not above: the data sets that need no network must load without it

    return Path(pooch.os_cache("unet-lab")).expanduser()


def archive_folder(name: str, sha256: str) -> Path:
    """Where `fetch_archive` keeps an archive, unpacked. If that folder exists, it is whole."""
    return cache_folder() / f"{name}-{sha256[:8]}"


def fetch_archive(
    url: str,
    sha256: str,
    *,
    name: str,
    attempts: int = 3,
    timeout: float | tuple[float, float] = (10.0, 60.0),
    progress: bool = True,
) -> Path:
    """Return the folder with the unpacked zip archive, downloading it if the cache does not hold it yet.

    Safe with several processes at once: each works under a name of its own, and the first to finish gives the folder.

    Args:
        url: http(s) address of a zip archive.
        sha256: its checksum, 64 hexadecimal digits. It is part of the folder's name, so a new release never meets an
            old one.
        name: short name of the data set, used in the folder's name and in messages.
        attempts: how often to try in all, when the connection fails or the server has a passing trouble (429, 5xx).
        timeout: seconds to wait for the connection and for each piece of data, as in `requests`.
        progress: show a progress bar on stderr.

    Raises:
        DownloadError: nothing was kept; calling again starts afresh.
    """
    target = archive_folder(name, sha256)
    if target.is_dir():
        return target

    cache = target.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_stale(cache, name)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", suffix=".part", dir=cache))
    except OSError as error:
        raise _cannot_write(name, url, cache, error) from error
    try:
        archive = work / "archive.zip"
        _download(url, archive, name=name, attempts=attempts, timeout=timeout, progress=progress)
        _check(archive, sha256, name=name, url=url)
        unpacked = work / "unpacked"
        _unpack(archive, unpacked, name=name, url=url)
        try:
            unpacked.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first, with the same checked bytes
                raise
    except OSError as error:
        raise _cannot_write(name, url, cache, error) from error
    finally:
        # also after Ctrl-C: whatever was not renamed goes
        shutil.rmtree(work, ignore_errors=True)
    return target


def _download(
    url: str, path: Path, *, name: str, attempts: int, timeout: float | tuple[float, float], progress: bool
) -> None:
    import pooch
    import requests

    logger.info("Downloading %s from %s", name, url)
    download = pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=timeout)
    for attempt in range(1, attempts + 1):
        try:
            download(url, str(path), None)
            return
        except requests.RequestException as error:
            happened, mend, passing = _diagnose(error)
            if not passing or attempt == attempts:
                raise _failure(name, url, happened, mend) from error
        logger.warning("Downloading %s: %s; attempt %d of %d follows.", name, happened, attempt + 1, attempts)
        time.sleep(PAUSE_SECONDS * attempt)


def _diagnose(error: Exception) -> tuple[str, str, bool]:
    """What happened, what to do, and whether another attempt may help."""
    import requests

    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        happened = f"the server answered {status} ({error.response.reason})"
        if status == 429 or status >= 500:
            return happened, "Try again later.", True
        return happened, "The file may have moved: open the address in a browser, or look for a newer unet-lab.", False
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        happened = "the transfer was cut before its end"
    elif isinstance(error, requests.Timeout) or "timed out" in str(error):
        happened = "the server did not answer in time"
    else:
        happened = "no connection to the server"
    mend = "Check the network (proxy, login page of a guest network) and try again."
    return f"{happened} ({type(error).__name__}: {error})", mend, True


def _check(archive: Path, sha256: str, *, name: str, url: str) -> None:
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() == sha256.lower():
        return
    happened = (
        f"what came is not the published file: {archive.stat().st_size} bytes with sha256 {digest.hexdigest()}, "
        f"expected sha256 {sha256.lower()}"
    )
    if start.lstrip()[:1] == b"<":
        mend = "It looks like a web page, perhaps the login page of the network: log in with a browser, then try again."
    else:
        mend = "Try again; if it happens once more, the file on the server is another one: look for a newer unet-lab."
    raise _failure(name, url, happened, mend)


def _unpack(archive: Path, folder: Path, *, name: str, url: str) -> None:
    try:
        with zipfile.ZipFile(archive) as zip_file:
            outside = [entry.filename for entry in zip_file.infolist() if not _stays_inside(entry)]
            if outside:
                happened = f"the archive's entry {outside[0]!r} would be written outside its folder"
                raise _failure(name, url, happened, "Do not use this archive.")
            folder.mkdir()
            zip_file.extractall(folder)
    # zlib.error: damaged content; NotImplementedError: a compression that Python cannot read
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        happened = f"the file is not a zip archive that can be read ({error})"
        raise _failure(name, url, happened, "Report this to the makers of unet-lab.") from error


def _stays_inside(entry: zipfile.ZipInfo) -> bool:
    # zipfile itself drops ".." and leading slashes and unpacks elsewhere in silence; such an archive is refused instead
    path = entry.filename
    if stat.S_ISLNK(entry.external_attr >> 16):
        return False
    return not (path.startswith("/") or "\\" in path or ":" in path or ".." in PurePosixPath(path).parts)


def _remove_stale(cache: Path, name: str) -> None:
    """Remove what a killed process left behind; a running one is younger than a day."""
    for work in cache.glob(f".{name}-*.part"):
        try:
            if time.time() - work.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(work, ignore_errors=True)
        except FileNotFoundError:
            continue  # its own process has just removed it


def _failure(name: str, url: str, happened: str, mend: str) -> DownloadError:
    return DownloadError(
        f"Could not download {name} from {url}: {happened}. {mend} "
        f"No network here? Download that file elsewhere, unpack it, and pass its folder: load({name!r}, root=FOLDER)."
    )


def _cannot_write(name: str, url: str, cache: Path, error: OSError) -> DownloadError:
    return _failure(
        name,
        url,
        f"the cache folder {cache} cannot be written ({error.strerror or error})",
        f"Free some space, or set the environment variable {CACHE_VARIABLE} to a folder that can be written.",
    )

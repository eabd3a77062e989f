"""Fetching one file from its official address: resumed where it was cut, checked before it gets its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests
from tqdm import tqdm

from fedlib.data.files import one_line
from fedlib.errors import InputError

ATTEMPTS = 3
_CHUNK = 1 << 16


def download(url: str, target: Path, md5: str, *, progress: bool = True) -> Path:
    """Fetch ``url`` to ``target`` and return ``target``.

    What has arrived lies in ``<target>.part``; a connection that is cut is taken up again from there (HTTP Range, RFC
    9110), now or by the next call. The file gets its name only if its MD5 is ``md5``; otherwise it is removed. Raises
    :class:`InputError` with the address and the place to put the file by hand.
    """
    part = target.with_name(target.name + ".part")
    by_hand = f"or put the file of that address at {target} yourself"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _append(url, part, progress)
                break
            except requests.RequestException as err:
                if attempt == ATTEMPTS:
                    reason = one_line(err)[:200]
                    raise InputError(f"could not fetch {url} ({reason}): try again to go on, {by_hand}") from err
        found = hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest()
        if found != md5:
            part.unlink()
            raise InputError(f"{url} gave a file with MD5 {found}, not {md5}; it was removed: try again, {by_hand}")
        return part.replace(target)
    except OSError as err:
        raise InputError(f"could not write {target} ({one_line(err)}): free or choose another place for it") from err


def _append(url: str, part: Path, progress: bool) -> None:
    """Add to ``part`` what it still lacks of ``url``."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
        if response.status_code == 416:  # nothing lies beyond what is here; the checksum will judge it
            return
        response.raise_for_status()
        resumed = response.status_code == 206
        left = int(response.headers.get("Content-Length", 0))
        with (
            part.open("ab" if resumed else "wb") as out,
            tqdm(
                desc=part.stem,
                total=(have if resumed else 0) + left or None,
                initial=have if resumed else 0,
                unit="B",
                unit_scale=True,
                disable=None if progress else True,  # None: shown on a terminal only
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                bar.update(out.write(chunk))

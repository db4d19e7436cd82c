"""Downloads that resume, and the mirror that is asked before the internet."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from helpers.common.errors import CourseError

pass


LARGEST = 2_000_000_000  # bytes; the largest file that the course asks for is under 500 MB
_TRIES = 4  # in a row that bring nothing


def mirror_address() -> str:
    """Return COURSE_MIRROR: a folder or an address that is looked up first; "" for none."""
    return os.environ.get("COURSE_MIRROR", "").strip().rstrip("/")


def mirror_folder(mirror: str) -> Path:
    """Return the folder of a mirror that is one; CourseError when it is not there."""
    root = Path(mirror).expanduser()
    if not root.is_dir():
        raise CourseError(f"COURSE_MIRROR: {mirror}: no such folder; correct it or unset it")
    return root


def download(
    address: str, part: Path, name: str, *, mirrored: str, missing_ok: bool = False
) -> dict[str, str] | None:
    """Bring the file at `address` to `part`; what is there of it already is not fetched again.

    Args:
        address: http or https.
        part: file that is begun or continued.
        name: how progress and messages call it.
        mirrored: the folder of a mirror in which it would lie.

    Returns the headers of the last answer; None when `missing_ok` and the host has no such file.
    Raises CourseError when several tries in a row bring nothing; `part` is then kept.
    """
    import requests
    from tqdm.auto import tqdm

    failures, best = 0, _size(part)
    with requests.Session() as session:
        while True:
            failures += 1
            wait = min(2.0**failures, 30.0)
            try:
                return dict(_receive(session, address, part, name))
            except requests.HTTPError as error:
                status = error.response.status_code
                if missing_ok and status == 404:
                    return None
                reason, asked = f"status {status}", retry_after(error.response)
                wait = wait if asked is None else asked
                final = (status != 429 and status < 500) or wait > 120
            except requests.RequestException as error:
                reason, final = type(error).__name__, False
            except OSError as error:
                reason, final = str(error), True
            if _size(part) > best:
                failures, best = 1, _size(part)
            if final or failures == _TRIES:
                kept = f", {_size(part) / 1e6:.1f} MB are kept" if _size(part) else ""
                raise CourseError(
                    f"{address}: download failed ({reason}{kept}); check the connection and try "
                    f"again, or set COURSE_MIRROR to a folder that holds {mirrored}"
                )
            tqdm.write(f"{name}: {reason}; next try in {wait:.0f} s")
            time.sleep(wait)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(session, address: str, part: Path, name: str):
    """Fetch what is missing of `part`, or all of it where the host cannot go on in the middle.

    Returns the headers of the answer.
    """
    import requests
    from tqdm.auto import tqdm

    have = _size(part)
    # Without compression: offsets count the bytes of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(address, headers=headers, stream=True, timeout=(10, 60)) as answer:
        span = answer.headers.get("Content-Range", "")
        if answer.status_code == 416 and span == f"bytes */{have}":
            return answer.headers  # it was whole already
        other = answer.status_code == 206 and not span.startswith(f"bytes {have}-")
        if answer.status_code == 416 or other:
            part.unlink()
            return _receive(session, address, part, name)
        answer.raise_for_status()
        have = have if answer.status_code == 206 else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with (
            part.open("ab" if have else "wb") as sink,
            tqdm(total=total, initial=have, desc=name, unit="B", unit_scale=True) as bar,
        ):
            for chunk in arriving(answer):
                have += sink.write(chunk)
                bar.update(len(chunk))
                if have > LARGEST:
                    part.unlink()
                    raise CourseError(
                        f"{address}: larger than any file of the course; check the address"
                    )
    if total is not None and have < total:
        raise requests.ConnectionError("cut off")
    return answer.headers


def retry_after(answer) -> float | None:
    """Seconds that a response asks to wait (RFC 9110, 10.2.3), None when it does not say."""
    asked = answer.headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def arriving(answer) -> Iterator[bytes]:
    """The body of a streamed response in the pieces in which it comes.

    requests' own iter_content waits for a whole chunk, however slowly it trickles in, and loses
    what came of one that breaks off. Raises requests.ConnectionError when reading fails.
    """
    import requests

    try:
        while chunk := answer.raw.read1(1 << 16, decode_content=True):
            yield chunk
    except Exception as error:  # of urllib3, zlib or the socket; the caller's never come here
        raise requests.ConnectionError(f"cut off ({type(error).__name__})") from error

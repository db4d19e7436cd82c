"""Downloads that resume, and the mirror that is asked before the internet."""

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.util.retry import Retry

from helpers.common.errors import CourseError

LARGEST = 2_000_000_000  # bytes; the largest file that the course asks for is under 500 MB
MAX_WAIT = 120  # seconds; a host that asks for more is left alone
# Four tries in a row that bring nothing.
RETRY = Retry(
    total=3,
    status_forcelist={429, *range(500, 600)},
    retry_after_max=math.inf,  # type: ignore[arg-type]  # only compared with
)
_MAY_PASS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


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

        missing_ok: whether the host may have no such file.

    Returns:
        The headers of the last answer; None when `missing_ok` and the host has no such file.

    Raises:
        CourseError: several tries in a row brought nothing; `part` is kept.
    """
    retry, best = RETRY, _size(part)
    with requests.Session() as session:
        while True:
            try:
                return dict(_receive(session, address, part, name))
            except OSError as error:  # of the network (requests' are such) or of the disk
                if missing_ok and _status(error) == 404:
                    return None
                if _size(part) > best:
                    retry, best = RETRY, _size(part)
                try:
                    retry = wait_after(error, retry, name)
                except OSError:
                    kept = f", {_size(part) / 1e6:.1f} MB are kept" if _size(part) else ""
                    raise CourseError(
                        f"{address}: download failed ({reason(error)}{kept}); check the connection "
                        f"and try again, or set COURSE_MIRROR to a folder that holds {mirrored}"
                    ) from None


def wait_after(error: OSError, retry: Retry, name: str) -> Retry:
    """Sleep before the next try, and return what is left of `retry`.

    As long as the host asks, else 2, 4, 8 … seconds.

    Raises:
        OSError: `error`, when no try is left, when it will not pass (such as status 404), or when
            the host asks for over MAX_WAIT seconds.
    """
    from helpers.common.progress import tqdm

    status, asked = _status(error), _asked_to_wait(error)
    passes = retry.is_retry("GET", status) if status else isinstance(error, _MAY_PASS)
    if not passes or asked > MAX_WAIT:
        raise error
    try:
        retry = retry.increment("GET", error=error)
    except MaxRetryError:
        raise error from None
    wait = asked or min(2.0 ** len(retry.history), 30.0)
    if wait >= 4:
        tqdm.write(f"{name}: {reason(error)}; next try in {wait:.0f} s")
    time.sleep(wait)
    return retry


def reason(error: OSError) -> str:
    """What went wrong, in a few words."""
    if status := _status(error):
        asked = _asked_to_wait(error)
        return f"status {status}" + (f", asks to wait {asked:.0f} s" if asked else "")
    return type(error).__name__ if isinstance(error, requests.RequestException) else str(error)


def _status(error: OSError) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _asked_to_wait(error: OSError) -> float:
    """Seconds that the host asks to wait, 0 when it does not say."""
    response = getattr(error, "response", None)
    if response is None:  # no answer at all
        return 0.0
    try:
        return RETRY.get_retry_after(response) or 0.0
    except (InvalidHeader, ValueError, OverflowError):  # nothing that means a time
        return 0.0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(session: requests.Session, address: str, part: Path, name: str):
    """Fetch what `part` lacks, or all of it where the host cannot resume; the answer's headers."""
    from helpers.common.progress import tqdm

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


def arriving(answer: requests.Response) -> Iterator[bytes]:
    """The body of a streamed response in the pieces in which it comes.

    requests' own iter_content waits for a whole chunk, however slowly it trickles in, and loses
    what came of one that breaks off. Raises requests.ConnectionError when reading fails.
    """
    try:
        while chunk := answer.raw.read1(1 << 16, decode_content=True):
            yield chunk
    except Exception as error:  # of urllib3, zlib or the socket; the caller's never come here
        raise requests.ConnectionError(f"cut off ({type(error).__name__})") from error

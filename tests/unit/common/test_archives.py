"""Archives from strangers: unpacked whole, or refused before anything is written."""

import io
import random
import tarfile
import zipfile

import pytest

from helpers.common import archives
from helpers.common.errors import CourseError


def pack(place, names):
    """A zip file at `place` of name -> bytes."""
    with zipfile.ZipFile(place, "w") as bundle:
        for name, data in names.items():
            bundle.writestr(name, data)


def linked(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr(info, target)
    return buffer.getvalue()


def test_unsafe_archives_are_not_unpacked(tmp_path):
    path, out = tmp_path / "bad.zip", tmp_path / "out"
    for name in ("../escape.txt", "/absolute.txt", "a/../../escape.txt", "c:/escape.txt"):
        pack(path, {"good.txt": b"", name: b"x"})
        with pytest.raises(CourseError, match=r"bad.zip: .*not unpacked"):
            archives.unpack(path, out)
    path.write_bytes(linked("images", "/etc"))
    with pytest.raises(CourseError, match="a link"):
        archives.unpack(path, out)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        tar_of(path, special=kind)
        with pytest.raises(CourseError, match="'special': a link"):
            archives.unpack(path, out)
    pack(path, {"t/a": b"x", "t/a/b": b"x"})
    with pytest.raises(CourseError, match="'t/a' is a file and a folder"):
        archives.unpack(path, out)
    for name in ("../escape.txt", "/absolute.txt", "a/../../escape.txt"):
        tar_of(path, **{name: b"x"})
        with pytest.raises(CourseError, match=r"bad.zip: .*not unpacked"):
            archives.unpack(path, out)
    assert not out.exists()


def test_the_size_that_a_folder_states_hides_no_files(tmp_path, monkeypatch):
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as bundle:
        for name, size, kind in (("in", 3_000, tarfile.DIRTYPE), ("in/a", 4, tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, size
            bundle.addfile(info, None if kind == tarfile.DIRTYPE else io.BytesIO(b"good"))
    monkeypatch.setattr(archives, "_MAX_UNPACKED", 2_000)
    archives.unpack(path, tmp_path / "out")
    assert (tmp_path / "out/a").read_bytes() == b"good"


def tar_of(place, mode="w", **entries):
    """A tar file of name -> bytes, or -> the type of an entry that is no file."""
    with tarfile.open(place, mode) as bundle:
        for name, value in {"good.txt": b"good", **entries}.items():
            info = tarfile.TarInfo(name)
            if value in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
                info.type, info.linkname = value, "/etc/hostname"
                value = b""
            info.size = len(value)
            bundle.addfile(info, io.BytesIO(value))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tars_are_unpacked_and_broken_ones_refused(tmp_path, monkeypatch, mode):
    path = tmp_path / "some.tar"
    tar_of(path, mode, **{"folder/more.txt": b"x" * 5000})
    archives.unpack(path, tmp_path / "out")
    assert (tmp_path / "out/folder/more.txt").read_bytes() == b"x" * 5000
    whole = path.read_bytes()
    path.write_bytes(whole[: 3000 if mode == "w" else len(whole) * 2 // 3])
    with pytest.raises(CourseError, match="broken archive"):
        archives.unpack(path, tmp_path / "cut")
    path.write_bytes(whole)
    monkeypatch.setattr(archives, "_MAX_UNPACKED", 4000)
    with pytest.raises(CourseError, match="too large"):
        archives.unpack(path, tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_archives_that_are_too_large_or_broken(tmp_path, monkeypatch):
    path, out = tmp_path / "bad.zip", tmp_path / "out"
    pack(path, {f"{i}.txt": b"x" * 100 for i in range(5)})
    monkeypatch.setattr(archives, "_MAX_UNPACKED", 400)
    with pytest.raises(CourseError, match="too large"):
        archives.unpack(path, out)
    monkeypatch.undo()
    monkeypatch.setattr(archives, "_MAX_FILES", 4)
    with pytest.raises(CourseError, match="too large"):
        archives.unpack(path, out)
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    data[data.index(b"xxxx")] = ord("y")
    path.write_bytes(data)
    with pytest.raises(CourseError, match="broken archive"):
        archives.unpack(path, out)
    path.write_bytes(b"no zip")
    with pytest.raises(CourseError, match="broken archive"):
        archives.unpack(path, out)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_flipped_byte_in_a_compressed_tar_is_seen_and_nothing_unpacked(tmp_path, kind):
    path, out = tmp_path / f"some.tar.{kind}", tmp_path / "out"
    with tarfile.open(path, f"w:{kind}") as bundle:
        # Of bytes that do not compress: a flipped one is a wrong byte, not broken compression.
        data = random.Random(0).randbytes(50_000)
        info = tarfile.TarInfo("t/a")
        info.size = len(data)
        bundle.addfile(info, io.BytesIO(data))
    whole = path.read_bytes()
    archives.unpack(path, out)
    assert (out / "a").read_bytes() == data
    (out / "a").unlink()
    out.rmdir()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(CourseError, match=r"broken archive|no archive|not unpacked"):
        archives.unpack(path, out)
    assert not out.exists()

"""A filesystem for Beam that behaves as object stores do: names, no folders, late errors.

`far://bucket/a/b.jpg` is one file in $FAR, whose name holds the slashes.
"""

import io
import os
import shutil
from pathlib import Path
from urllib.parse import quote, unquote

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem


class NotThere(Exception):
    """What a client of an object store raises; it is no OSError."""


class Missing(io.BytesIO):
    def read(self, *_):
        raise NotThere


def where(path):
    return Path(os.environ["FAR"]) / quote(path, safe="")


class FarFileSystem(FileSystem):
    @classmethod
    def scheme(cls):
        return "far"

    def has_dirs(self):
        return False

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        raise NotImplementedError

    def _list(self, dir_or_prefix):
        for file in list(Path(os.environ["FAR"]).iterdir()):
            if (path := unquote(file.name)).startswith(dir_or_prefix):
                yield self.metadata(path)

    def create(self, path, mime_type=None, compression_type="auto"):
        assert compression_type == "uncompressed"
        return where(path).open("wb")

    def open(self, path, mime_type=None, compression_type="auto"):
        assert compression_type == "uncompressed"
        return where(path).open("rb") if self.exists(path) else Missing()

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            shutil.copyfile(where(source), where(target))
            where(source).unlink()

    def exists(self, path):
        return where(path).exists()

    def size(self, path):
        return where(path).stat().st_size

    def last_updated(self, path):
        return where(path).stat().st_mtime

    def checksum(self, path):
        raise NotImplementedError

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            if not path.endswith("/"):
                raise BeamIOError("the course deletes folders only")
            for file in self._list(path):
                where(file.path).unlink()

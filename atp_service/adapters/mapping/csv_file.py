"""A source's file as rows, streamed: plain or gzip, never whole in memory."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from atp_service.adapters.mapping.config import File

MIB = 1 << 20


class FileError(Exception):
    """The file cannot be read; the message is one line that names the place."""


class Rows:
    """The header, then the rows, numbered from 1.

    `file_id` is the first 12 hexadecimal digits of the SHA-256 of the file's first MiB as it lies
    on disk: the same file has the same id wherever it lies, so its rows have the same event ids.
    """

    def __init__(self, path: Path, described: File) -> None:
        try:
            self._disk: IO[bytes] = path.open("rb")
        except OSError as error:
            raise FileError(f"{path}: {error.strerror}") from error
        self._path = path
        self.size = path.stat().st_size
        start = self._disk.read(MIB)
        self._disk.seek(0)
        self.file_id = sha256(start).hexdigest()[:12]
        packed = start.startswith(b"\x1f\x8b")
        # A byte outside the encoding makes its row unreadable, not the file: surrogates mark it.
        self._text = TextIOWrapper(
            gzip.GzipFile(fileobj=self._disk) if packed else self._disk,
            encoding=described.encoding,
            errors="surrogateescape",
            newline="",
        )
        self._reader = csv.reader(self._text, delimiter=described.delimiter)
        self.header: list[str] = [name.strip() for name in next(self._records(), [])]

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self._disk.close()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Each data row with its number; empty lines have none."""
        return enumerate((row for row in self._records() if row), 1)

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file on disk are read."""
        return self._disk.tell()

    def id_at(self, moment: datetime) -> str:
        """The id of a file that is all of one time, from its whole content and that time: a list of
        another day is another snapshot."""
        with self._path.open("rb") as whole:
            content = file_digest(whole, "sha256")
        content.update(moment.astimezone(UTC).isoformat().encode())
        return content.hexdigest()[:12]

    def _records(self) -> Iterator[list[str]]:
        try:
            yield from self._reader
        except (csv.Error, EOFError, zlib.error, OSError) as error:
            line = self._reader.line_num + 1
            raise FileError(f"{self._path}: can't be read beyond line {line}: {error}") from error

"""Shards of clips on disk, and the samples of a row.

A shard is a plain tar of `<id>.flac` members in the order of rows, as WebDataset reads them. The columns `shard,
offset, bytes` of a row say where its FLAC bytes lie, so one clip is one seek and one read.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import render
from pipeline.audio.codec import flac, unflac
from pipeline.core import files
from pipeline.core.errors import CorruptMember, ManifestError
from pipeline.core.row import Audio, Row

AUDIO_FOLDER = "audio"  # beside the manifests
AGAIN = "the command that made it (prep run, resample, mix or rebuild) makes it again"
_BLOCK = tarfile.BLOCKSIZE
_MOST_OPEN = 16  # shards
_FLAC = b"fLaC"  # how every FLAC file begins
_MOST_NOISE = 64  # decoded recordings of noise in memory, 20 MB of CochlScene


def member_name(row_id: str) -> str:
    """The name of a row in its shard: the id with dots escaped, for WebDataset splits names at the first dot."""
    name = row_id.replace("%", "%25").replace(".", "%2E") + ".flac"
    return name if name[0] != "/" and "\0" not in name else name.replace("/", "%2F").replace("\0", "%00")


class ShardWriter:
    """Appends clips to a shard that is being written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self.crc = 0  # CRC-32 of all that was written

    def put(self, row_id: str, data: bytes) -> tuple[int, int]:
        """Appends one member; returns offset and length of its data."""
        info = tarfile.TarInfo(member_name(row_id))
        info.size = len(data)
        header = info.tobuf(tarfile.PAX_FORMAT)
        offset = self._at + len(header)
        self._append(header + data + bytes(-len(data) % _BLOCK))
        return offset, len(data)

    def close(self) -> None:
        """Writes the two empty blocks that end a tar."""
        self._append(bytes(2 * _BLOCK))

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)
        self.crc = zlib.crc32(data, self.crc)


@contextmanager
def writing(path: Path) -> Iterator[ShardWriter]:
    """Writes a shard, which appears at `path` when the `with` block ends well, and not at all otherwise."""
    with files.replacing(path) as half, open(half, "wb") as file:
        shard = ShardWriter(file)
        yield shard
        shard.close()


class Reader:
    """Reads the samples of rows: `Reader(manifest.path.parent).pcm(row)`. One reader is not for several threads."""

    def __init__(self, folder: str | Path) -> None:
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()
        self.folder = Path(folder) / AUDIO_FOLDER
        self._noise: OrderedDict[tuple[str, int], NDArray[np.int16]] = OrderedDict()  # of virtual mixtures, decoded

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the shards that are open; a later read opens them again."""
        while self._open:
            self._open.popitem()[1].close()

    def pcm(self, row: Row) -> NDArray[np.int16]:
        """The row's samples, int16 [frames]: stored, or rendered where the row is a virtual mixture.

        ManifestError where the row has no audio yet or a shard is damaged.
        """
        if row.shard is not None and row.offset is not None and row.bytes is not None:
            return self.stored(row.shard, row.offset, row.bytes)
        if row.noise_shard is not None:
            return self._mixture(row)
        raise ManifestError(f"{row.id}: has no stored audio yet: run prep resample")

    def _mixture(self, row: Row) -> NDArray[np.int16]:
        """The samples of a virtual mixture: the same that a stored one has."""
        parts = (
            row.speech_shard,
            row.speech_offset,
            row.speech_bytes,
            row.noise_shard,
            row.noise_offset,
            row.noise_bytes,
        )
        if None in parts:
            raise ManifestError(
                f"{row.id}: it has no columns that say where its parts lie: run prep mix --virtual again"
            )
        speech = self.stored(row.speech_shard, row.speech_offset, row.speech_bytes)  # type: ignore[arg-type]
        noise = self._recent_noise(row.noise_shard, row.noise_offset, row.noise_bytes)  # type: ignore[arg-type]
        try:
            return render.mixture(row, speech, noise)
        except ValueError as error:
            raise ManifestError(f"{error}: run prep mix --virtual again") from None

    def _recent_noise(self, shard: str, offset: int, size: int) -> NDArray[np.int16]:
        """A recording of noise, decoded once where there are few of them, for each is then in many mixtures."""
        if (shard, offset) in self._noise:
            self._noise.move_to_end((shard, offset))
        else:
            self._noise[shard, offset] = self.stored(shard, offset, size)
        if len(self._noise) > _MOST_NOISE:
            self._noise.popitem(last=False)
        return self._noise[shard, offset]

    def audio(self, row: Row) -> Audio:
        """The row's samples as float32 in [-1, 1), and their rate."""
        if row.rate_hz is None:
            raise ManifestError(f"{row.id}: has no rate: not a measured row")
        return Audio(self.pcm(row).astype(np.float32) * np.float32(2.0**-15), row.rate_hz)

    def packed(self, row: Row) -> bytes:
        """The row's FLAC bytes: as they are stored, or of what is rendered where the row is a virtual mixture."""
        if row.shard is not None and row.offset is not None and row.bytes is not None:
            return self.stored_bytes(row.shard, row.offset, row.bytes)
        return flac(self.pcm(row), row.rate_hz or 0)

    def stored(self, shard: str, offset: int, size: int) -> NDArray[np.int16]:
        """The samples at this place of a shard, int16 [frames]."""
        try:
            return unflac(os.pread(self._file(shard).fileno(), size, offset))
        except CorruptMember:
            raise self._damaged(shard, offset, size) from None

    def stored_bytes(self, shard: str, offset: int, size: int) -> bytes:
        """The FLAC bytes at this place of a shard, not decoded."""
        data = os.pread(self._file(shard).fileno(), size, offset)
        if len(data) != size or data[: len(_FLAC)] != _FLAC:
            raise self._damaged(shard, offset, size)
        return data

    def _damaged(self, shard: str, offset: int, size: int) -> ManifestError:
        return ManifestError(
            f"{self.folder / shard}: no FLAC clip of {size} bytes at {offset}: the shard is damaged; {AGAIN}"
        )

    def _file(self, shard: str) -> BinaryIO:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        try:
            self._open[shard] = file = open(files.below(self.folder, shard), "rb")  # noqa: SIM115 - closed by close()
        except FileNotFoundError:
            raise ManifestError(
                f"{self.folder / shard}: no such shard; it belongs beside the manifest, in {AUDIO_FOLDER}/"
            ) from None
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return file

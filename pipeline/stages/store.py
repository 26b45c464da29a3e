"""Where the work of a stage reads and writes audio: recordings, stored clips, decoded noise, the shard in progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.archives import Roots
from pipeline.audio.codec import MOST_BYTES, Recording, cut, flac
from pipeline.audio.media import decode, raw
from pipeline.audio.shards import Reader, ShardWriter
from pipeline.core import files
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Place, Row

T = TypeVar("T")
ANY = 1 << 60
_WIDEST, _TAGS = 8, 64 << 20  # bytes of a sample; of pictures and the like in a file
WORK_FOLDER = ".work"  # beside the manifests: commits of shards, decoded noise; all of it can be made again
_POOL_FOLDER = "noise"


class Store:
    """The audio of one folder of manifests, for the work on one shard."""

    def __init__(self, folder: Path, roots: Roots, shard: str | None = None, writer: ShardWriter | None = None) -> None:
        self.folder = folder
        self.roots = roots
        self.shard = shard
        self._writer = writer
        self._reader = Reader(folder)
        self._pools: dict[str, NDArray[np.int16]] = {}
        self._last: tuple[str, Any] = ("", None)
        self._whole: tuple[Place, Recording] | None = None

    def recording(self, place: Place, most_bytes: int = MOST_BYTES) -> Recording:
        """A recording of a corpus, or a piece of one, decoded. CorruptMember where it cannot be.

        most_bytes: bound on the bytes of its file, and on those of its samples.
        """
        if place.size > most_bytes:
            raise CorruptMember("too_large", f"{place.size:,} bytes; prep ingest --max-mb is the bound")
        if not place.is_piece:
            return self._decoded(place, most_bytes)
        whole = replace(place, begin_s=None, end_s=None, channel=None)
        if self._whole is None or self._whole[0] != whole:  # its other pieces come next
            self._whole = whole, self._decoded(whole, most_bytes)
        return cut(self._whole[1], place.begin_s or 0.0, place.end_s, place.channel)

    def again(self, row: Row, place: Place) -> Recording:
        """The recording of a row that ingest has opened, which may have grown since. CorruptMember as `recording`.

        A piece does not say how long the recording is that it is of.
        """
        if place.is_piece or row.source_frames is None or row.source_channels is None:
            return self.recording(place, ANY)
        most_bytes = row.source_frames * row.source_channels * _WIDEST + _TAGS
        if place.size > most_bytes:
            seen = f"{row.source_frames:,} frames of {row.source_channels} channels"
            raise CorruptMember("changed", f"{row.source} has {place.size:,} bytes, ingest saw {seen}")
        return self.recording(place, most_bytes)

    def _decoded(self, place: Place, most_bytes: int) -> Recording:
        data = self.roots[place.root].read(place)
        return decode(data, most_bytes) if place.pcm_rate_hz is None else raw(data, place.pcm_rate_hz)

    def stored(self, shard: str, offset: int, size: int) -> NDArray[np.int16]:
        """The samples of a clip that an earlier stage stored, int16 [frames]."""
        return self._reader.stored(shard, offset, size)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` returns; it is called once for consecutive jobs that have the same key."""
        if self._last[0] != key:
            self._last = key, make()
        value: T = self._last[1]
        return value

    def put(self, row_id: str, pcm: NDArray[np.int16], rate_hz: int) -> tuple[str, int, int]:
        """Stores a clip; returns its shard, offset and bytes."""
        if self._writer is None or self.shard is None:
            raise RuntimeError("this store is only for reading")
        return self.shard, *self._writer.put(row_id, flac(pcm, rate_hz))

    def pool(self, name: str) -> NDArray[np.int16]:
        """The samples of a pool of noise clips one after another, int16, memory-mapped and shared between processes."""
        if name not in self._pools:
            path = pool_path(self.folder, name)
            self._pools[name] = np.memmap(path, np.int16, mode="r") if path.stat().st_size else np.zeros(0, np.int16)
        return self._pools[name]


def pool_path(folder: Path, name: str) -> Path:
    """The file of a pool of decoded noise."""
    return files.below(folder / WORK_FOLDER / _POOL_FOLDER, f"{name}.pcm")


def decode_pool(pool: tuple[Path, str, str, Sequence[tuple[int, int]]]) -> None:
    """Writes a pool, once for all mixtures that its clips are in. Runs in a worker.

    pool: (folder, name of the pool, shard, (offset, bytes) of each clip in it).
    """
    folder, name, shard, clips = pool
    path = pool_path(folder, name)
    if path.exists():
        return
    reader = Reader(folder)
    with files.replacing(path) as half, open(half, "wb") as file:
        for offset, size in clips:
            file.write(reader.stored(shard, offset, size).tobytes())

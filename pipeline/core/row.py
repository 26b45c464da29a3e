"""The nouns: Clip, Row, Drop, Audio. No verbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file's bytes lie under a root; nothing in it is absolute, so another machine can read by it.

    root: name of the root. container: path under the root, spelled as on disk, of the file or of the
    archive that holds it (`a.tar!b.zip` for an archive inside an archive). offset, packed, size, method
    and crc are those of the archive member; a plain file has method -1 and no crc. stamp: modification
    time, in ns, of the file that holds the bytes. begin_s, end_s: the piece that is meant, where it is not the whole
    recording; end_s None: to its end. channel: the one that is meant, from 0; None: all. pcm_rate_hz: rate of a file of
    mono 16-bit samples without a header; None for any other.
    """

    root: str
    container: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int | None = None
    stamp: int = 0
    begin_s: float | None = None
    end_s: float | None = None
    channel: int | None = None
    pcm_rate_hz: int | None = None

    @property
    def is_piece(self) -> bool:
        """Whether a piece of the recording is meant, in time or of its channels."""
        return self.begin_s is not None or self.end_s is not None or self.channel is not None

    @property
    def piece(self) -> str:
        """Which piece is meant, in a few characters; empty for the whole recording."""
        times = f"{self.begin_s} {self.end_s}" if self.is_piece else ""
        return times if self.channel is None else f"{times} channel {self.channel}"


@dataclass(frozen=True, slots=True)
class Clip:
    """What a corpus claims of one recording before anyone has opened it.

    key: unique in the corpus, the same whatever container holds the recording. source: canonical name
    under the root, `@aihub/Training/도움요청/757631`. group: what may not straddle splits; None where the
    corpus knows no speaker: then clips with identical samples form a group. kind: "speech" or "noise".
    """

    key: str
    source: str
    place: Place
    split: str
    kind: str
    group: str | None = None
    text: str | None = None
    scenario: str | None = None
    scene: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that ends here: `reason` is a word for counting, `detail` a sentence for a person."""

    id: str
    stage: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Audio:
    """Mono samples, float32 in [-1, 1), shape [frames], and their rate."""

    samples: NDArray[np.float32]
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest. `manifests/schema.md` says what each column means and when it is null."""

    id: str
    corpus: str
    split: str
    group: str
    kind: str
    source: str
    transcript: str | None = None
    keyword: str | None = None
    scenario: str | None = None
    scene: str | None = None
    noise_label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    shard: str | None = None
    offset: int | None = None
    bytes: int | None = None
    rate_hz: int | None = None
    frames: int | None = None
    pcm_hash: str | None = None
    source_rate_hz: int | None = None
    source_channels: int | None = None
    source_frames: int | None = None
    source_format: str | None = None
    source_pcm_hash: str | None = None
    source_pcm_crc: int | None = None
    level_full_dbfs: float | None = None
    level_active_dbfs: float | None = None
    activity: float | None = None
    peak_dbfs: float | None = None
    clipped_share: float | None = None
    zero_share: float | None = None
    speech_id: str | None = None
    speech_pcm_hash: str | None = None
    noise_id: str | None = None
    noise_source: str | None = None
    noise_pcm_hash: str | None = None
    noise_start: int | None = None
    snr_db: float | None = None
    snr_definition: str | None = None
    snr_active_db: float | None = None
    snr_full_db: float | None = None
    gain_db: float | None = None
    noise_gain_db: float | None = None
    variant: int | None = None
    speech_shard: str | None = None
    speech_offset: int | None = None
    speech_bytes: int | None = None
    noise_shard: str | None = None
    noise_offset: int | None = None
    noise_bytes: int | None = None
    dc_dbfs: float | None = None

"""A corpus of everything odd that a recording can be; each is named for what is odd about it."""

from __future__ import annotations

import numpy as np
from sounds import encoded, hiss, voice

_PLAIN = voice(3.0)
_HISS = hiss(5.0, seed=2)

SPEECH = {
    "clean_test/plain.wav": encoded(_PLAIN),
    "clean_test/as_flac.flac": encoded(voice(3.0, seed=1), container="FLAC"),
    "clean_test/as_mp3.mp3": encoded(voice(3.0, 44_100, 2), 44_100, "MPEG_LAYER_III", "MP3"),
    "clean_test/as_ogg.ogg": encoded(voice(3.0, 44_100, 3), 44_100, "VORBIS", "OGG"),
    "clean_test/bits_24.wav": encoded(voice(3.0, 48_000, 4), 48_000, "PCM_24"),
    "clean_test/bits_8.wav": encoded(voice(3.0, seed=5), 16_000, "PCM_U8"),
    "clean_test/doubles.wav": encoded(voice(3.0, seed=6), 16_000, "DOUBLE"),
    "clean_test/above_full_scale.wav": encoded(voice(3.0, 44_100, 7) * 20, 44_100, "FLOAT"),
    "clean_test/offset.wav": encoded(voice(3.0, seed=8) + np.float32(0.3)),
    "clean_test/telephone.wav": encoded(voice(3.0, 8_000, 9), 8_000, "ULAW"),
    "clean_test/clipped.wav": encoded(np.sign(voice(3.0, 44_100, 10)).astype(np.float32), 44_100),
    "clean_test/longer_than_noise.wav": encoded(voice(9.0, seed=11)),
    "clean_test/quiet.wav": encoded(voice(3.0, seed=12, level_dbfs=-65.0)),
    "clean_test/stereo.wav": encoded(np.stack([voice(3.0, seed=13), hiss(3.0)], axis=1)),
    "clean_test/three_channels.wav": encoded(np.stack([voice(3.0, seed=14)] * 3, axis=1)),
    "clean_test/opposite_channels.wav": encoded(np.stack([_PLAIN, -_PLAIN], axis=1)),
}
NOISE = {
    "noise_test/Hum_1.wav": encoded(hiss(5.0)),
    "noise_test/Short_1.wav": encoded(hiss(0.5, seed=1)),
    "noise_test/Rate_1.wav": encoded(hiss(2.0, 44_100, 4), 44_100),
}
LOST = {  # and the reason of ingest's or filter's Drop
    "clean_test/silent.wav": (encoded(np.zeros(16_000, np.float32)), "silent"),
    "clean_test/constant.wav": (encoded(np.full(16_000, 0.3, np.float32)), "silent"),
    "clean_test/not_numbers.wav": (
        encoded(np.where(np.arange(48_000) == 5, np.nan, _PLAIN), 16_000, "FLOAT"),
        "not_finite",
    ),
    "clean_test/infinite.wav": (
        encoded(np.where(np.arange(48_000) == 5, np.inf, _PLAIN), 16_000, "FLOAT"),
        "not_finite",
    ),
    "clean_test/nothing.wav": (b"", "empty"),
    "clean_test/no_frames.wav": (encoded(np.zeros(0, np.float32)), "empty"),
    "clean_test/page.wav": (b"<html><body>502 Bad Gateway</body></html>", "not_audio"),
    "clean_test/cut_header.wav": (encoded(_PLAIN)[:30], "truncated"),
    "clean_test/cut_short.wav": (encoded(_PLAIN)[:-1_001], "truncated"),
    "clean_test/cut_flac.flac": (encoded(_PLAIN, container="FLAC")[:-5_000], "truncated"),
    "noise_test/Zero_1.wav": (encoded(np.zeros(48_000, np.float32)), "silent"),
}
USELESS = {
    "noise_test/Opposite_1.wav": encoded(np.stack([_HISS, -_HISS], axis=1)),
    "noise_test/Tiny_1.wav": encoded(hiss(0.03)),
}
ALL_PASS = (
    "--min-s",
    0,
    "--max-zero",
    1,
    "--max-clipped",
    1,
    "--min-level-dbfs",
    -200,
    "--min-rate-hz",
    0,
    "--max-dc-db",
    99,
)

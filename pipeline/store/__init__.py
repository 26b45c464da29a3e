"""Audio on disk: decode, encode, shards, the samples of a row, and what a stage's work reads and writes by."""

from pipeline.store.codec import Recording, cut, decode, flac, floats, library, pcm_crc, pcm_hash, unflac
from pipeline.store.shards import AGAIN, AUDIO_FOLDER, Reader, ShardWriter, member_name, writing
from pipeline.store.store import WORK_FOLDER, Store, decode_pool, pool_path

__all__ = [
    "AGAIN",
    "AUDIO_FOLDER",
    "WORK_FOLDER",
    "Reader",
    "Recording",
    "ShardWriter",
    "Store",
    "cut",
    "decode",
    "decode_pool",
    "flac",
    "floats",
    "library",
    "member_name",
    "pcm_crc",
    "pcm_hash",
    "pool_path",
    "unflac",
    "writing",
]

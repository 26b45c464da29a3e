"""All identity and all chance: fingerprints, and draws that depend on names, never on position."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS_PER_NAME = 8  # a BLAKE2b-512 digest is eight 64-bit words
_UNIT = 2.0**-53


def fingerprint(*parts: object) -> str:
    """32 hex digits (BLAKE2b-128) of the parts in canonical JSON: equal parts, equal digits, on any machine.

    >>> fingerprint("mix", {"b": 1, "a": 2}) == fingerprint("mix", {"a": 2, "b": 1})
    True
    """
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def rng(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for these names: `rng(seed, "mix", row.id, variant)`."""
    return np.random.Generator(np.random.Philox(key=int(fingerprint(seed, *names), 16)))


def words(seed: int, purpose: str, names: Iterable[str]) -> NDArray[np.uint64]:
    """uint64 [len(names), 8]: eight independent random words for each name."""
    key = fingerprint(seed, purpose).encode()
    digests = bytearray()
    for name in names:
        digests += blake2b(name.encode(), key=key).digest()
    return np.frombuffer(digests, "<u8").reshape(-1, DRAWS_PER_NAME)


def draws(seed: int, purpose: str, names: Iterable[str]) -> NDArray[np.float64]:
    """float64 [len(names), 8] in [0, 1): eight independent draws for each name.

    A name's draws depend on nothing but the seed, the purpose and the name, so removing a name
    changes no other's.
    """
    return unit(words(seed, purpose, names))


def order(seed: int, purpose: str, names: Iterable[str]) -> NDArray[np.int64]:
    """int64 [names]: places of the names in a drawn order; any two stand in the same order, whatever the others are."""
    return np.argsort(words(seed, purpose, names)[:, 0], kind="stable")


def unit(word: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Random words as numbers in [0, 1), 53 bits each."""
    return (word >> np.uint64(11)).astype(np.float64) * _UNIT


def choose(word: NDArray[np.uint64], candidates: list[str]) -> NDArray[np.int64]:
    """Index of the candidate that falls to each random word, int64 [len(word)]; candidates: not empty.

    Consistent hashing: each candidate holds `POINTS` places on a ring of 2**64, a word falls to the
    next place. One candidate more among N takes about 1/N of the words and leaves the rest as they were.
    """
    own = words(0, "ring", candidates)[:, 0]
    steps = np.arange(1, POINTS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    ring = _mixed(own[:, None] + steps[None, :]).ravel()
    order = np.argsort(ring, kind="stable")
    places = np.searchsorted(ring[order], word, side="left") % len(ring)
    return (order[places] // POINTS).astype(np.int64)


POINTS = 64  # places a candidate: its share of the draws is even within about 1/sqrt(POINTS) = 12 %


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

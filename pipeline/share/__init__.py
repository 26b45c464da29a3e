"""Sets passed on without their audio: packs, finding the recordings again, building the same samples, proving it.

A pack: `pack`, `columns`. Where its recordings lie on this machine: `listing`, `finding`. The set made again: `rejoin`, `rebuild`.
The proof: `verify` goes from level to level (`laws`, `stored`, `opening` with `headers`, `recomputed`), `verdicts` are its words.
"""

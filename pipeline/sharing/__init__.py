"""Sets passed on without their audio: packs, finding the recordings again, building the same samples, proving it."""

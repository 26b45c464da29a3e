"""Running stages: recipe, steps, shards, workers, what is committed already.

Never what a stage does to a clip, and never chance: plans come from the stages.
"""

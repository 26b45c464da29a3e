"""Sound as arrays and bytes: levels, P.56, resampling and mixing; decoding and encoding; shards; scenes.

Never places, archives or manifests: what is given here are samples, or the bytes of one file.
"""

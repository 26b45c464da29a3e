"""Sets passed on without their audio: packed, located on another machine, rebuilt to the same samples, verified.

Never here: how one clip is decoded, rendered or stored (audio, stages), and formats of other tools (export).
"""

"""Looking at a set: summaries, one clip's history, differences, audits, pages.

Nothing here changes a manifest or its audio.
"""

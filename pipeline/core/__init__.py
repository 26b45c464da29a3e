"""Rows and what holds them: frames, schema, manifests, identity and chance, errors, whole files.

Never sound, archives or corpora.
"""

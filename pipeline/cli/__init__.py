"""The command line: one file for each family of commands, thin calls into the library.

Nothing is computed here: no rows, no audio, no hashes; only options, progress, printing and exit codes.
"""

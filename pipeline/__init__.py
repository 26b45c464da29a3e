"""prep: from corpora as downloaded to a mixed 16 kHz set and its manifest; shared without its audio, judged, shown, exported.

The rooms, those below first; a room imports only from rooms above it in this list (tests/test_architecture.py).

    row errors files aligned      nouns; faults; whole files or none; text in columns
    keys dsp presets lexicon      identity and chance; arrays; TOML; transcript to keyword
    sources/                      bytes out of folders, zips, split zips, tars, pieces: nothing unpacked
    table/ parquet                columns in memory; Parquet files
    manifest migrations           rows with their provenance; older schemas
    store/                        decode, FLAC, shards, the samples of a row
    corpora/ rights               one file a corpus; what its licence allows
    stages/                       ingest filter resample mix; seek rebuild recompute
    crew cluster commits ledger lock engine    who works; a stage in shards, each done once and kept
    recipe build survey           a TOML file; all stages as it says; what a run would do
    summary counts difference/ life/ audit/    a set in numbers; against the paper; against another; one clip's story; its leaks
    sharing/ croissant            pack, rebuild, verify; what lies beside a pack
    report/ exports/              a page to look at; other tools' forms
    demo/ doctor                  a small corpus to try; this machine
    commands/ cli                 the terminal, and nothing else

To understand it, read row, stages/__init__, stages/ingest, engine and build, in this order; then the room you need.
"""

__version__ = "0.1.0"

"""A first set in Python: the demo corpora ingested, filtered, resampled and mixed, and the rows looked at as a pandas
frame.

prep demo                        # makes demo-corpus/, once
python examples/first_set.py
"""

import pipeline as prep

FOLDER = "manifests/first-set"
speech = prep.ingest("aihub", "demo-corpus/aihub170", folder=FOLDER)
noise = prep.ingest("cochlscene", "demo-corpus/cochlscene", folder=FOLDER)
kept = prep.filter([speech, noise], scenarios=["화재", "도움요청"], min_s=0.3, dev_share=0.2)
mixed = prep.mix(prep.resample(kept), snr_db=[20, "0:15"], seed=0)

frame = mixed.frame
print(frame.groupby(["split", "kind"]).size().unstack(fill_value=0))
print(frame[["snr_db", "snr_active_db", "snr_full_db"]].describe().round(2))
print(mixed.drops.groupby(["stage", "reason"]).size())

row_id = frame.loc[frame["kind"] == "mixture", "id"].iloc[0]
samples = mixed.audio(row_id)
print(row_id, samples.dtype, samples.shape)

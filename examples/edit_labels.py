"""Labels mended by hand, and a subset saved, as a manifest that says what was done to it.

prep demo
python examples/edit_labels.py
"""

import pipeline as prep

demo = prep.load("manifests/demo.parquet")
frame = demo.frame
frame.loc[frame["transcript"] == "도와 주세요", "transcript"] = "도와주세요"
frame = frame[(frame["kind"] == "noise") | (frame["snr_db"] >= 15)]

edited = demo.save("manifests/edited.parquet", frame)
print(edited.provenance.stage, "from", edited.provenance.inputs)
print(edited.provenance.recipe["edited"])
print(edited.drops[edited.drops["stage"] == "edited"].head())

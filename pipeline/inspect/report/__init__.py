"""Pages to look at: what a set holds, or what an evaluation found, as one HTML file that fetches nothing.

Needs the extra [report]. `page` makes the page of a manifest; `html`, `charts` and `clips` serve any page. Nothing here
decides what a licence allows: that is `corpora.rights`.
"""

"""Pages to look at: what a set holds, or what an evaluation found, as one HTML file that fetches nothing.

Needs the extra [report]. `page` makes that of a manifest; `html`, `charts`, `fonts` and `sounds` serve any page.
"""

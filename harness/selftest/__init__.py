"""`python -m harness selftest`: the figures that the harness's numbers rest on, each shown to hold and to break.

A part is one module with one `PART`, and one line in `parts.py`. Every count, seed and threshold stands in
`figures.py`.
"""

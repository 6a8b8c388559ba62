"""Reports of finished runs, in text, Markdown, LaTeX, CSV and HTML, and the table of the matrix.

May import: base, config, engine, and the rest of protocols.
"""

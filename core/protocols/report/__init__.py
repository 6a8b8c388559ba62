"""Reports of finished runs, in text, Markdown, LaTeX, CSV and HTML.

May import: base, config, engine, and the rest of protocols.
"""

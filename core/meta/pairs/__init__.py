"""Sources of captioned pictures: listings, folders, webdataset shards and generated ones.

May import: base, synthetic, data, and the rest of meta.
"""

"""Checks TFRecord shards: one by one (shards), together (dataset); for people (tables, page)."""

"""Converts videos to TFRecord shards: which videos (catalogs), their frames, the shards."""

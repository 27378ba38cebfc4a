"""Videos to TFRecord shards: which files (catalogs), their frames (frames), writing (shards)."""

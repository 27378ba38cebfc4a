"""Checks TFRecord shards: each shard, the whole data set, tables and a page of the findings."""

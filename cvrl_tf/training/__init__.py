"""Contrastive pre-training: loss, schedule, loop, and the directory that a run writes."""

"""Trains networks: losses, optimizers, schedule, the loop, and the directory of a run."""

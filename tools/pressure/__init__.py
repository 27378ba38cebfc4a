"""Fault injection for training: runs are killed, stopped and starved, then compared."""

"""The tables and figures of the paper, as runs of the commands of this package."""

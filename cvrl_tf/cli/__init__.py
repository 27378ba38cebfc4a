"""The command line: help, errors, and the flags of the entry points."""

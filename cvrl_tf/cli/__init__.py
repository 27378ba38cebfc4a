"""The command line: help, errors, exit statuses, and the flags of the entry points."""

"""Programs that measure other implementations, for `tools.benchmark.comparison`.

Each is run by the Python of an environment with that implementation, but without this project. It
imports only that implementation, the standard library and `measure`.
"""

"""Programs that measure other implementations, for `tools.benchmark.comparison`.

Each is run by the Python of an environment of its own, which has that implementation and nothing of
this project: it imports, beside that implementation and the standard library, only `measure`.
"""

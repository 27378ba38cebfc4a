"""The demonstration: rendered videos through all of the package."""

"""The demonstration: the whole pipeline on rendered videos."""

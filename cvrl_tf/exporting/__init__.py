"""Exports backbones for projects that have TensorFlow and Keras, but not this package."""

"""The backbone for projects with TensorFlow and Keras alone: SavedModel, .keras file, model card."""

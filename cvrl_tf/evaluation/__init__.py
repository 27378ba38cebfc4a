"""Evaluates backbones: views, features, nearest neighbours, classifiers, results."""

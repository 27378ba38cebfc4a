"""Evaluation of a frozen backbone: views, features, nearest neighbours, classifiers, results."""

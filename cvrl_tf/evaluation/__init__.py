"""Evaluation of a frozen backbone: views, features, nearest neighbours, linear probe."""

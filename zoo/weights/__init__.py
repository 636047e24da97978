"""Weights: the list of what exists, finding it, reading it without trust, and writing it whole."""

"""Weights on their way: into the repository, onto the Hub, and into a folder for machines without a network."""

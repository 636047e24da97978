"""Readers of what data sets' authors distribute, and the one layout they are all brought into."""

"""Detect and track in anything that Ultralytics reads; a broken file stops nothing, and memory does not grow."""

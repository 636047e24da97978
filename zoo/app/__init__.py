"""The browser demo: detections with and without the grafts, what they look at, and the exports, on one page."""

"""What grafts look at, how much they change, and what the detector finds without them."""

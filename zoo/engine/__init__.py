"""Training, validation, prediction and export by Ultralytics, with the grafts alive through all of it."""

"""Attention blocks, each `(B, C, H, W)` to `(B, C, H, W)`, that know nothing of YOLO; `blocks` names them."""

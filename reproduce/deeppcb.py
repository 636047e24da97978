"""Train, evaluate and record a model on DeepPCB circuit defects.

`python reproduce/deeppcb.py --model yolov8n_dattn --seed 0`
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from reproduce.pipeline import main  # noqa: E402

if __name__ == "__main__":
    main("deeppcb")

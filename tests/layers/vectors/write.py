"""Cut the committed parity vectors out of the full ones: `python tests/layers/vectors/write.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

STEP = 3
"""Of outputs and gradients, every third number is kept: a mistake that moves none of them moves nothing."""

CASES = {
    "a2_c32_cm12_cn6_norec_15x20": False,
    "a2_c32_rec_16x16": True,
    "dat_g1_s1_k9_12x20": False,
    "dat_g4_s1_k5_orf2_12x20": True,
    "dat_g4_s2_k5_16x16": False,
    "dat_logcpb_g2_s2_12x20": False,
    "dat_nooff_nope_s2_16x16": False,
    "dat_rpetable_g2_s1_12x12": True,
    "halo_b2h1_8x12": True,
    "halo_b4h1_16x16": False,
    "halotimm_b4h1_8x12": True,
    "halotimm_b8h2_16x24": False,
    "halotimm_b8h3_16x16": False,
    "hat_body_ws4_d1d2_12x8": True,
    "hat_hab_ws8_shift0_16x16": False,
    "hat_hab_ws8_shift4_16x24": False,
    "hat_ocab_ws4_8x12": True,
    "hat_rhag_ws4_d2_8x12": True,
}
"""Every block and option once, and whether the gradient is kept."""


def thinned(tensor: Tensor) -> Tensor:
    """Every `STEP`-th number of the first image, in float64."""
    return tensor[:1].flatten()[::STEP].contiguous()


def main() -> None:
    for case, gradient in CASES.items():
        with safe_open(Path(sys.argv[1], f"{case}_f64.safetensors"), "pt") as file:
            meta = json.loads(file.metadata()["meta"])
            full = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors = {name: tensor.float() for name, tensor in full.items() if name.startswith("param.")}
        tensors |= {"input": full["input"][:1].float().contiguous(), "output": thinned(full["output"])}
        if gradient:
            tensors["grad_output"] = full["grad_output"][:1].float().contiguous()
            tensors["grad_input"] = thinned(full["grad_input"])
        about = json.dumps({"hyper": meta["hyper"], "source": meta["source"]})
        save_file(tensors, Path(__file__).with_name(f"{case}.safetensors"), {"meta": about})


if __name__ == "__main__":
    main()

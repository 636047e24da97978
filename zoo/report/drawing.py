"""The layers of a model and its grafts, as a drawing that Markdown shows."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import places
from zoo.config import STEM, ModelConfig

_PASSED_OVER = {"Conv", "nn.Upsample", "Concat"}


def draw(config: ModelConfig) -> str:
    """A Mermaid flowchart of the stages, of which each graft takes the output.

    Args:
        config: With grafts at positions of its base.
    """
    table = places.layers(places.read(config))
    grafts = {-1 if graft.position == STEM else int(graft.position): graft.block for graft in config.grafts}
    drawn = {layer.index for layer in table if layer.module not in _PASSED_OVER} | grafts.keys() | {-1}

    def node(index: int) -> str:
        return f"{'G' if index in grafts else 'L'}{index if index >= 0 else STEM}"

    def sources(index: int) -> Iterator[int]:
        for source in table[index].sources:
            yield from (source,) if source in drawn else sources(source)

    lines = ["flowchart TD", f"    L{STEM}[image]"]
    for layer in table:
        if layer.index in drawn:
            named = f" ({', '.join(layer.places)})" if layer.places else ""
            lines.append(f'    L{layer.index}["{layer.index}: {layer.module.removeprefix("nn.")}{named}"]')
    for index, block in grafts.items():
        lines.append(f'    {node(index)}(["+ gamma * {block}"])')
        lines.append(f"    {node(index).replace('G', 'L', 1)} ==> {node(index)}")
    for index in sorted(drawn - {-1}):
        lines += [f"    {node(source)} --> L{index}" for source in dict.fromkeys(sources(index))]
    return "```mermaid\n" + "\n".join(lines) + "\n```"

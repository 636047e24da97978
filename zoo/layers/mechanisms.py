"""What each block computes, in a sentence and a formula, and when it is worth a try. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.layers import papers
from zoo.layers.papers import Paper


@dataclass(frozen=True)
class Mechanism:
    """What a block computes.

    Attributes:
        name: As it goes into a sentence.
        idea: What it does, without a full stop.
        formula: LaTeX, in the letters of `docs/mechanisms.md`: of the block, or of the weights `w` of one that weighs
            its map and so adds `x * (w - 1)`.
        when: When to try it, without a full stop.
        paper: None where there is none.
        limit: What to know before choosing it, empty when there is nothing.
    """

    name: str
    idea: str
    formula: str
    when: str
    paper: Paper | None
    limit: str = ""


_SQUARE = "every pixel's logits for every other: {0}; made for p4, p5 and deeper maps"

MECHANISMS = {
    "a2": Mechanism(
        "double attention",
        "global descriptors gathered from the whole map, of which every pixel gets its own mixture",
        r"y_i = W_o \sum_k \operatorname{softmax}_k (V x_i)_k \sum_j \operatorname{softmax}_j (B x_j)_k \, "
        r"A x_j",
        "context of the whole image on large maps, p2 to p4: the cost grows with the pixels, not with their square",
        papers.A2_NETS,
    ),
    "dattn": Mechanism(
        "deformable attention",
        "every pixel attends to sampling points whose positions the image itself has moved",
        r"y_i = W_o \Bigl( \sum_n \operatorname{softmax}_n \Bigl( \frac{q_i \cdot k_n}{\sqrt{d}} \Bigr) "
        r"v_n + \operatorname{DW}(q)_i \Bigr), \quad k_n, v_n = W_{k, v} \, x(p_n), \quad p_n = c_n + s \, "
        r"r \tanh \theta(q)_n",
        "objects whose parts lie at places that vary; after SPPF or on p5, where every pixel can afford every point",
        papers.DAT,
    ),
    "halo": Mechanism(
        "halo attention",
        "blocks of pixels that attend to their block and a margin around it",
        r"y_i = W_o \sum_{j \in \operatorname{halo}(i)} \operatorname{softmax}_j \Bigl( \frac{q_i \cdot "
        r"(k_j + r_{j - i})}{\sqrt{d}} \Bigr) v_j",
        "local detail at any size of map: the cost grows with the pixels",
        papers.HALONET,
    ),
    "hat": Mechanism(
        "hybrid attention",
        "windowed self-attention beside channel attention, then windows whose keys reach over their border",
        r"x' = x + \operatorname{MSA}_{\text{window}}(x) + 0.01 \operatorname{CAB}(x), \quad x'' = x' + "
        r"\operatorname{MLP}(x'), \quad y = x'' + \operatorname{MSA}_{\text{overlapping}}(x'')",
        "several kinds of attention at once, where many small operations are affordable; fold=2 or more on large maps",
        papers.HAT,
    ),
    "hat_stem": Mechanism(
        "hybrid attention",
        "windowed self-attention beside channel attention, then windows whose keys reach over their border",
        r"y = \operatorname{unfold} \bigl( \operatorname{HAT}(\operatorname{fold}_r(x)) \bigr)",
        "configurations that name it; for new models hat(fold=8)@image does the same",
        papers.HAT,
    ),
    "simam": Mechanism(
        "SimAM",
        "pixels weigh more the further they are from their channel's mean, without parameters",
        r"w = \sigma \Bigl( \frac{(x - \mu)^2}{4 (s^2 + \lambda)} + \frac{1}{2} \Bigr)",
        "no parameter may be added",
        papers.SIMAM,
    ),
    "ema": Mechanism(
        "efficient multi-scale attention",
        "in groups of channels, a 1x1 and a 3x3 branch weigh each other's pixels",
        r"w = \sigma \bigl( \operatorname{softmax}(\bar a) \cdot b + \operatorname{softmax}(\bar b) \cdot "
        r"a \bigr), \quad a = \operatorname{GN}(x \odot \sigma(W \bar x_{\text{rows}}) \odot \sigma(W \bar "
        r"x_{\text{columns}})), \quad b = \operatorname{conv}_{3}(x)",
        "weights of pixels that see rows, columns and neighbours, for few parameters",
        papers.EMA,
    ),
    "gam": Mechanism(
        "global attention",
        "a network across channels and two 7x7 convolutions weigh each channel of each pixel, nothing being pooled",
        r"w = m \odot \sigma(\operatorname{conv}_7(\operatorname{ReLU}(\operatorname{conv}_7(x \odot "
        r"m)))), \quad m = \sigma(\operatorname{MLP}(x))",
        "parameters are not what is short: two wide convolutions weigh every channel of every pixel",
        papers.GAM,
    ),
    "lska": Mechanism(
        "large separable kernel attention",
        "a depthwise kernel of 23 pixels, made of rows and columns, weighs each channel of each pixel",
        r"w = W \operatorname{DW}_{7 \times 1}^{3} \operatorname{DW}_{1 \times 7}^{3} \operatorname{DW}_{5 "
        r"\times 1} \operatorname{DW}_{1 \times 5} \, x",
        "a reach of 23 pixels without attention's logits",
        papers.LSKA,
    ),
    "biformer": Mechanism(
        "bi-level routing attention",
        "regions choose the few regions most akin to them, and pixels attend to the pixels of those",
        r"y_i = W_o \Bigl( \sum_{j \in R(i)} \operatorname{softmax}_j \Bigl( \frac{q_i \cdot "
        r"k_j}{\sqrt{d}} \Bigr) v_j + \operatorname{DW}(v)_i \Bigr), \quad R = \text{the } k \text{ "
        r"regions of largest } \bar q_{r(i)} \cdot \bar k_r",
        "related things that lie far apart, on maps where all pairs would be too many",
        papers.BIFORMER,
    ),
    "se": Mechanism(
        "squeeze-and-excitation",
        "the map's means pass a small network that scales each channel",
        r"w = \sigma(W_2 \operatorname{ReLU}(W_1 \bar x))",
        "the first thing to try: it is next to free",
        papers.SE,
    ),
    "ese": Mechanism(
        "effective squeeze-and-excitation",
        "the map's means pass one full layer that scales each channel",
        r"w = \operatorname{hardsigmoid}(W \bar x)",
        "as se, where the small network's bottleneck is thought to lose something",
        papers.CENTERMASK,
    ),
    "eca": Mechanism(
        "efficient channel attention",
        "a short convolution over the channels' means scales each channel",
        r"w = \sigma(\text{conv1d}_k(\bar x)), \quad k = \operatorname{odd} \Bigl( \frac{\log_2 C "
        r"+ 1}{2} \Bigr)",
        "channel attention for a handful of parameters",
        papers.ECA,
    ),
    "ecam": Mechanism(
        "efficient channel attention with a hidden layer",
        "two short convolutions over the channels' means scale each channel",
        r"w = \sigma(\text{conv1d}_k(\operatorname{ReLU}(\text{conv1d}_1(\bar x))))",
        "as eca, with a little more room to learn",
        papers.ECA,
        "the hidden layer is timm's experiment and not in the paper",
    ),
    "ceca": Mechanism(
        "circular efficient channel attention",
        "a short convolution over the channels' means, the last beside the first, scales each channel",
        r"w = \sigma(\text{conv1d}_k^{\text{circular}}(\bar x))",
        "as eca, with no channel at an edge",
        papers.ECA,
        "the circle is timm's and not in the paper",
    ),
    "ge": Mechanism(
        "gather-excite",
        "means over the map, or over neighbourhoods of it, scale each channel there",
        r"w = \sigma(W_2 \operatorname{ReLU}(W_1 \bar x_{\text{extent}}))",
        "as se; with an extent, weights that differ from place to place",
        papers.GATHER_EXCITE,
    ),
    "gc": Mechanism(
        "global context",
        "a weighted mean of the pixels passes a small network that scales each channel",
        r"w = \sigma \Bigl( \operatorname{MLP} \Bigl( \sum_j \operatorname{softmax}_j(u \cdot x_j) \, x_j "
        r"\Bigr) \Bigr)",
        "as se, where few places of the map should decide",
        papers.GC,
        "the paper adds the context instead, which is gca",
    ),
    "gca": Mechanism(
        "added global context",
        "a weighted mean of the pixels passes a small network and is added to every pixel",
        r"y = \operatorname{MLP} \Bigl( \sum_j \operatorname{softmax}_j(u \cdot x_j) \, x_j \Bigr)",
        "what the whole image shows should be added everywhere",
        papers.GC,
    ),
    "cbam": Mechanism(
        "CBAM",
        "means and maxima of the map scale each channel, then means and maxima of the channels scale each pixel",
        r"w = m \odot \sigma(\operatorname{conv}_7 [\operatorname{mean}_C, \operatorname{max}_C](x \odot "
        r"m)), \quad m = \sigma(\operatorname{MLP}(\operatorname{mean} x) + "
        r"\operatorname{MLP}(\operatorname{max} x))",
        "channels and pixels shall both be weighed, at next to no cost",
        papers.CBAM,
    ),
    "lcbam": Mechanism(
        "a light CBAM",
        "CBAM whose means and maxima are averaged before its networks read them",
        r"w = m \odot \sigma \Bigl( \operatorname{conv}_7 \Bigl( \frac{\operatorname{mean}_C + "
        r"\operatorname{max}_C}{2} (x \odot m) \Bigr) \Bigr), \quad m = \sigma \Bigl( \operatorname{MLP} "
        r"\Bigl( \frac{\operatorname{mean} x + \operatorname{max} x}{2} \Bigr) \Bigr)",
        "as cbam, a little cheaper",
        papers.CBAM,
        "timm's experiment and not in the paper",
    ),
    "coord": Mechanism(
        "coordinate attention",
        "means along rows and along columns pass a shared layer and scale each row and column of each channel",
        r"w = \sigma(W_h f(\bar x_{\text{rows}})) \odot \sigma(W_w f(\bar x_{\text{columns}})), \quad f = "
        r"\operatorname{hardswish} \operatorname{BN} W",
        "channel attention that shall know where, in rows and columns",
        papers.COORD,
    ),
    "scoord": Mechanism(
        "simple coordinate attention",
        "means along rows and along columns pass linear layers whose sum scales each pixel of each channel",
        r"w = \sigma(W_h f(\bar x_{\text{rows}}) + W_w f(\bar x_{\text{columns}})), \quad f = "
        r"\operatorname{SiLU} W",
        "as coord, without batch statistics",
        papers.COORD,
        "timm's simplification and not in the paper",
    ),
    "ela": Mechanism(
        "efficient local attention",
        "means along rows and along columns pass a convolution along the axis and scale each row and column",
        r"w = \sigma(f_h(\bar x_{\text{rows}})) \odot \sigma(f_w(\bar x_{\text{columns}})), \quad f = "
        r"\operatorname{SiLU} \operatorname{GN} \operatorname{DW}_7",
        "as coord, without mixing channels",
        papers.ELA,
    ),
    "strip": Mechanism(
        "strip attention",
        "means along rows and along columns pass a short convolution whose sum scales each pixel",
        r"w = \sigma(\operatorname{DW}_{3 \times 1} \bar x_{\text{rows}} + \operatorname{DW}_{1 \times 3} "
        r"\bar x_{\text{columns}})",
        "long thin things along an axis, at next to no cost",
        papers.STRIP_POOLING,
        "timm's minimal form of the paper's module",
    ),
    "nl": Mechanism(
        "non-local attention",
        "every pixel attends to every other with one head",
        r"y_i = \operatorname{BN} \Bigl( W_o \sum_j \operatorname{softmax}_j \Bigl( \frac{q_i \cdot "
        r"k_j}{\sqrt{C}} \Bigr) v_j \Bigr)",
        "the plain reference for attention among all pixels, on p4 and p5",
        papers.NON_LOCAL,
        _SQUARE.format("164 MB an image on p3 at 640 px"),
    ),
    "bat": Mechanism(
        "bilinear attentional transforms",
        "the map's rows and columns are mixed by matrices that the map itself has made",
        r"y = f \bigl( P(x) \, g(x) \, Q(x) \bigr), \quad P, Q \text{ of } 7 \times 7 \text{ blocks, rows "
        r"of } P \text{ and columns of } Q \text{ sum to one}",
        "rows and columns shall be mixed over the whole map, cheaper than by nl",
        papers.BAT,
        "maps whose sides are no multiples of block_size are padded inside by their border",
    ),
    "sk": Mechanism(
        "selective kernels",
        "convolutions of two reaches, between which the map's means choose channel by channel",
        r"y = a_3 \odot U_3 + a_5 \odot U_5, \quad U_k = \operatorname{conv}_k(x_k), \quad a = "
        r"\operatorname{softmax}_k(W_k f(\operatorname{mean}(U_3 + U_5)))",
        "objects of several sizes on one map",
        papers.SK_NETS,
        "trains on batches of two images or more",
    ),
    "splat": Mechanism(
        "split attention",
        "convolutions of two groups, between which the map's means choose channel by channel",
        r"y = \sum_r a_r \odot U_r, \quad U_r = \operatorname{conv}_3^r(x), \quad a = "
        r"\operatorname{softmax}_r \Bigl( W_r f \Bigl( \operatorname{mean} \sum_r U_r \Bigr) \Bigr)",
        "convolutions of which each image chooses its own mixture",
        papers.RESNEST,
    ),
    "lambda": Mechanism(
        "lambda layers",
        "every pixel's query meets a linear map made of all pixels and one made of its neighbourhood",
        r"y_i = \Bigl( \sum_j v_j \operatorname{softmax}_j(k_j)^\top + \sum_{j \in 9 \times 9} v_j e_{j - i}^\top "
        r"\Bigr) q_i",
        "context of the image and of the neighbourhood on large maps, without logits for all pairs",
        papers.LAMBDA_NETWORKS,
    ),
    "conv": Mechanism(
        "a convolution",
        "a bottleneck of plain convolutions, which spends parameters without attention",
        r"y = W_2 \operatorname{SiLU}(\operatorname{DW}_3 \operatorname{SiLU}(W_1 x))",
        "as the control: what attention must beat with as many parameters, set by params=",
        None,
    ),
}
"""By name of the block; blocks that users register have none."""

"""What each block computes, in a sentence, and the paper it comes from. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """Where a mechanism comes from.

    Attributes:
        title: Of the paper.
        authors: Joined by `" and "`, as BibTeX wants them.
        year: Of its first publication.
        arxiv: Number on arXiv, empty for a paper that is not there.
        venue: Where it appeared, for a paper that is not on arXiv.
        address: Its page, for a paper that is not on arXiv.
    """

    title: str
    authors: str
    year: int
    arxiv: str = ""
    venue: str = ""
    address: str = ""

    @property
    def link(self) -> str:
        """The paper's page."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.address

    @property
    def journal(self) -> str:
        """Where it appeared, as BibTeX wants it."""
        return f"arXiv preprint arXiv:{self.arxiv}" if self.arxiv else self.venue


@dataclass(frozen=True)
class Mechanism:
    """What a block computes.

    Attributes:
        name: As it goes into a sentence.
        idea: What it does, without a full stop.
        paper: None where there is none.
        limit: What to know before choosing it, empty when there is nothing.
    """

    name: str
    idea: str
    paper: Paper | None
    limit: str = ""


_HAT = Paper(
    "Activating More Pixels in Image Super-Resolution Transformer",
    "Xiangyu Chen and Xintao Wang and Jiantao Zhou and Yu Qiao and Chao Dong",
    2022,
    "2205.04437",
)
_SE = Paper(
    "Squeeze-and-Excitation Networks",
    "Jie Hu and Li Shen and Samuel Albanie and Gang Sun and Enhua Wu",
    2017,
    "1709.01507",
)
_ECA = Paper(
    "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
    "Qilong Wang and Banggu Wu and Pengfei Zhu and Peihua Li and Wangmeng Zuo and Qinghua Hu",
    2019,
    "1910.03151",
)
_GC = Paper(
    "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond",
    "Yue Cao and Jiarui Xu and Stephen Lin and Fangyun Wei and Han Hu",
    2019,
    "1904.11492",
)
_CBAM = Paper(
    "CBAM: Convolutional Block Attention Module",
    "Sanghyun Woo and Jongchan Park and Joon-Young Lee and In So Kweon",
    2018,
    "1807.06521",
)
_COORD = Paper(
    "Coordinate Attention for Efficient Mobile Network Design",
    "Qibin Hou and Daquan Zhou and Jiashi Feng",
    2021,
    "2103.02907",
)
_SQUARE = "every pixel's logits for every other: {0}; made for p4, p5 and deeper maps"

MECHANISMS = {
    "a2": Mechanism(
        "double attention",
        "global descriptors gathered from the whole map, of which every pixel gets its own mixture",
        Paper(
            "A2-Nets: Double Attention Networks",
            "Yunpeng Chen and Yannis Kalantidis and Jianshu Li and Shuicheng Yan and Jiashi Feng",
            2018,
            "1810.11579",
        ),
    ),
    "dattn": Mechanism(
        "deformable attention",
        "every pixel attends to sampling points whose positions the image itself has moved",
        Paper(
            "Vision Transformer with Deformable Attention",
            "Zhuofan Xia and Xuran Pan and Shiji Song and Li Erran Li and Gao Huang",
            2022,
            "2201.00520",
        ),
    ),
    "halo": Mechanism(
        "halo attention",
        "blocks of pixels that attend to their block and a margin around it",
        Paper(
            "Scaling Local Self-Attention for Parameter Efficient Visual Backbones",
            "Ashish Vaswani and Prajit Ramachandran and Aravind Srinivas and Niki Parmar and Blake Hechtman "
            "and Jonathon Shlens",
            2021,
            "2103.12731",
        ),
    ),
    "hat": Mechanism(
        "hybrid attention",
        "windowed self-attention beside channel attention, then windows whose keys reach over their border",
        _HAT,
    ),
    "hat_stem": Mechanism(
        "hybrid attention",
        "windowed self-attention beside channel attention, then windows whose keys reach over their border",
        _HAT,
    ),
    "simam": Mechanism(
        "SimAM",
        "pixels weigh more the further they are from their channel's mean, without parameters",
        Paper(
            "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
            "Lingxiao Yang and Ru-Yuan Zhang and Lida Li and Xiaohua Xie",
            2021,
            venue="International Conference on Machine Learning",
            address="https://proceedings.mlr.press/v139/yang21o.html",
        ),
    ),
    "ema": Mechanism(
        "efficient multi-scale attention",
        "in groups of channels, a 1x1 and a 3x3 branch weigh each other's pixels",
        Paper(
            "Efficient Multi-Scale Attention Module with Cross-Spatial Learning",
            "Daliang Ouyang and Su He and Guozhong Zhang and Mingzhu Luo and Huaiyong Guo and Jian Zhan "
            "and Zhijie Huang",
            2023,
            "2305.13563",
        ),
    ),
    "gam": Mechanism(
        "global attention",
        "a network across channels and two 7x7 convolutions weigh each channel of each pixel, nothing being pooled",
        Paper(
            "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
            "Yichao Liu and Zongru Shao and Nico Hoffmann",
            2021,
            "2112.05561",
        ),
    ),
    "lska": Mechanism(
        "large separable kernel attention",
        "a depthwise kernel of 23 pixels, made of rows and columns, weighs each channel of each pixel",
        Paper(
            "Large Separable Kernel Attention: Rethinking the Large Kernel Attention Design in CNN",
            "Kin Wai Lau and Lai-Man Po and Yasar Abbas Ur Rehman",
            2023,
            "2309.01439",
        ),
    ),
    "biformer": Mechanism(
        "bi-level routing attention",
        "regions choose the few regions most akin to them, and pixels attend to the pixels of those",
        Paper(
            "BiFormer: Vision Transformer with Bi-Level Routing Attention",
            "Lei Zhu and Xinjiang Wang and Zhanghan Ke and Wayne Zhang and Rynson Lau",
            2023,
            "2303.08810",
        ),
    ),
    "se": Mechanism("squeeze-and-excitation", "the map's means pass a small network that scales each channel", _SE),
    "ese": Mechanism(
        "effective squeeze-and-excitation",
        "the map's means pass one full layer that scales each channel",
        Paper(
            "CenterMask : Real-Time Anchor-Free Instance Segmentation",
            "Youngwan Lee and Jongyoul Park",
            2019,
            "1911.06667",
        ),
    ),
    "eca": Mechanism(
        "efficient channel attention",
        "a short convolution over the channels' means scales each channel",
        _ECA,
    ),
    "ecam": Mechanism(
        "efficient channel attention with a hidden layer",
        "two short convolutions over the channels' means scale each channel",
        _ECA,
        "the hidden layer is timm's experiment and not in the paper",
    ),
    "ceca": Mechanism(
        "circular efficient channel attention",
        "a short convolution over the channels' means, the last beside the first, scales each channel",
        _ECA,
        "the circle is timm's and not in the paper",
    ),
    "ge": Mechanism(
        "gather-excite",
        "means over the map, or over neighbourhoods of it, scale each channel there",
        Paper(
            "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks",
            "Jie Hu and Li Shen and Samuel Albanie and Gang Sun and Andrea Vedaldi",
            2018,
            "1810.12348",
        ),
    ),
    "gc": Mechanism(
        "global context",
        "a weighted mean of the pixels passes a small network that scales each channel",
        _GC,
        "the paper adds the context instead, which is gca",
    ),
    "gca": Mechanism(
        "added global context",
        "a weighted mean of the pixels passes a small network and is added to every pixel",
        _GC,
    ),
    "cbam": Mechanism(
        "CBAM",
        "means and maxima of the map scale each channel, then means and maxima of the channels scale each pixel",
        _CBAM,
    ),
    "lcbam": Mechanism(
        "a light CBAM",
        "CBAM whose means and maxima are averaged before its networks read them",
        _CBAM,
        "timm's experiment and not in the paper",
    ),
    "coord": Mechanism(
        "coordinate attention",
        "means along rows and along columns pass a shared layer and scale each row and column of each channel",
        _COORD,
    ),
    "scoord": Mechanism(
        "simple coordinate attention",
        "means along rows and along columns pass linear layers whose sum scales each pixel of each channel",
        _COORD,
        "timm's simplification and not in the paper",
    ),
    "ela": Mechanism(
        "efficient local attention",
        "means along rows and along columns pass a convolution along the axis and scale each row and column",
        Paper(
            "ELA: Efficient Local Attention for Deep Convolutional Neural Networks",
            "Wei Xu and Yi Wan",
            2024,
            "2403.01123",
        ),
    ),
    "strip": Mechanism(
        "strip attention",
        "means along rows and along columns pass a short convolution whose sum scales each pixel",
        Paper(
            "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing",
            "Qibin Hou and Li Zhang and Ming-Ming Cheng and Jiashi Feng",
            2020,
            "2003.13328",
        ),
        "timm's minimal form of the paper's module",
    ),
    "nl": Mechanism(
        "non-local attention",
        "every pixel attends to every other with one head",
        Paper(
            "Non-local Neural Networks",
            "Xiaolong Wang and Ross Girshick and Abhinav Gupta and Kaiming He",
            2017,
            "1711.07971",
        ),
        _SQUARE.format("164 MB an image on p3 at 640 px"),
    ),
    "bat": Mechanism(
        "bilinear attentional transforms",
        "the map's rows and columns are mixed by matrices that the map itself has made",
        Paper(
            "Non-Local Neural Networks With Grouped Bilinear Attentional Transforms",
            "Lu Chi and Zehuan Yuan and Yadong Mu and Changhu Wang",
            2020,
            venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
            address="https://openaccess.thecvf.com/content_CVPR_2020/html/"
            "Chi_Non-Local_Neural_Networks_With_Grouped_Bilinear_Attentional_Transforms_CVPR_2020_paper.html",
        ),
        "maps whose sides are no multiples of block_size are padded inside by their border",
    ),
    "sk": Mechanism(
        "selective kernels",
        "convolutions of two reaches, between which the map's means choose channel by channel",
        Paper(
            "Selective Kernel Networks",
            "Xiang Li and Wenhai Wang and Xiaolin Hu and Jian Yang",
            2019,
            "1903.06586",
        ),
        "trains on batches of two images or more",
    ),
    "splat": Mechanism(
        "split attention",
        "convolutions of two groups, between which the map's means choose channel by channel",
        Paper(
            "ResNeSt: Split-Attention Networks",
            "Hang Zhang and Chongruo Wu and Zhongyue Zhang and Yi Zhu and Haibin Lin and Zhi Zhang and Yue Sun "
            "and Tong He and Jonas Mueller and R. Manmatha and Mu Li and Alexander Smola",
            2020,
            "2004.08955",
        ),
    ),
    "lambda": Mechanism(
        "lambda layers",
        "every pixel's query meets a linear map made of all pixels and one made of its neighbourhood",
        Paper(
            "LambdaNetworks: Modeling Long-Range Interactions Without Attention",
            "Irwan Bello",
            2021,
            "2102.08602",
        ),
    ),
    "conv": Mechanism(
        "a convolution",
        "a bottleneck of plain convolutions, which spends parameters without attention",
        None,
    ),
}
"""By name of the block; blocks that users register have none."""

"""The papers that mechanisms come from. No torch here."""

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


A2_NETS = Paper(
    "A2-Nets: Double Attention Networks",
    "Yunpeng Chen and Yannis Kalantidis and Jianshu Li and Shuicheng Yan and Jiashi Feng",
    2018,
    "1810.11579",
)
BAT = Paper(
    "Non-Local Neural Networks With Grouped Bilinear Attentional Transforms",
    "Lu Chi and Zehuan Yuan and Yadong Mu and Changhu Wang",
    2020,
    venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    address="https://openaccess.thecvf.com/content_CVPR_2020/html/"
    "Chi_Non-Local_Neural_Networks_With_Grouped_Bilinear_Attentional_Transforms_CVPR_2020_paper.html",
)
BIFORMER = Paper(
    "BiFormer: Vision Transformer with Bi-Level Routing Attention",
    "Lei Zhu and Xinjiang Wang and Zhanghan Ke and Wayne Zhang and Rynson Lau",
    2023,
    "2303.08810",
)
CBAM = Paper(
    "CBAM: Convolutional Block Attention Module",
    "Sanghyun Woo and Jongchan Park and Joon-Young Lee and In So Kweon",
    2018,
    "1807.06521",
)
CENTERMASK = Paper(
    "CenterMask : Real-Time Anchor-Free Instance Segmentation",
    "Youngwan Lee and Jongyoul Park",
    2019,
    "1911.06667",
)
COORD = Paper(
    "Coordinate Attention for Efficient Mobile Network Design",
    "Qibin Hou and Daquan Zhou and Jiashi Feng",
    2021,
    "2103.02907",
)
DAT = Paper(
    "Vision Transformer with Deformable Attention",
    "Zhuofan Xia and Xuran Pan and Shiji Song and Li Erran Li and Gao Huang",
    2022,
    "2201.00520",
)
ECA = Paper(
    "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
    "Qilong Wang and Banggu Wu and Pengfei Zhu and Peihua Li and Wangmeng Zuo and Qinghua Hu",
    2019,
    "1910.03151",
)
ELA = Paper(
    "ELA: Efficient Local Attention for Deep Convolutional Neural Networks",
    "Wei Xu and Yi Wan",
    2024,
    "2403.01123",
)
EMA = Paper(
    "Efficient Multi-Scale Attention Module with Cross-Spatial Learning",
    "Daliang Ouyang and Su He and Guozhong Zhang and Mingzhu Luo and Huaiyong Guo and Jian Zhan and Zhijie Huang",
    2023,
    "2305.13563",
)
GAM = Paper(
    "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
    "Yichao Liu and Zongru Shao and Nico Hoffmann",
    2021,
    "2112.05561",
)
GATHER_EXCITE = Paper(
    "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks",
    "Jie Hu and Li Shen and Samuel Albanie and Gang Sun and Andrea Vedaldi",
    2018,
    "1810.12348",
)
GC = Paper(
    "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond",
    "Yue Cao and Jiarui Xu and Stephen Lin and Fangyun Wei and Han Hu",
    2019,
    "1904.11492",
)
HALONET = Paper(
    "Scaling Local Self-Attention for Parameter Efficient Visual Backbones",
    "Ashish Vaswani and Prajit Ramachandran and Aravind Srinivas and Niki Parmar and Blake Hechtman "
    "and Jonathon Shlens",
    2021,
    "2103.12731",
)
HAT = Paper(
    "Activating More Pixels in Image Super-Resolution Transformer",
    "Xiangyu Chen and Xintao Wang and Jiantao Zhou and Yu Qiao and Chao Dong",
    2022,
    "2205.04437",
)
LAMBDA_NETWORKS = Paper(
    "LambdaNetworks: Modeling Long-Range Interactions Without Attention",
    "Irwan Bello",
    2021,
    "2102.08602",
)
LSKA = Paper(
    "Large Separable Kernel Attention: Rethinking the Large Kernel Attention Design in CNN",
    "Kin Wai Lau and Lai-Man Po and Yasar Abbas Ur Rehman",
    2023,
    "2309.01439",
)
NON_LOCAL = Paper(
    "Non-local Neural Networks",
    "Xiaolong Wang and Ross Girshick and Abhinav Gupta and Kaiming He",
    2017,
    "1711.07971",
)
RESNEST = Paper(
    "ResNeSt: Split-Attention Networks",
    "Hang Zhang and Chongruo Wu and Zhongyue Zhang and Yi Zhu and Haibin Lin and Zhi Zhang and Yue Sun "
    "and Tong He and Jonas Mueller and R. Manmatha and Mu Li and Alexander Smola",
    2020,
    "2004.08955",
)
SE = Paper(
    "Squeeze-and-Excitation Networks",
    "Jie Hu and Li Shen and Samuel Albanie and Gang Sun and Enhua Wu",
    2017,
    "1709.01507",
)
SIMAM = Paper(
    "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
    "Lingxiao Yang and Ru-Yuan Zhang and Lida Li and Xiaohua Xie",
    2021,
    venue="International Conference on Machine Learning",
    address="https://proceedings.mlr.press/v139/yang21o.html",
)
SK_NETS = Paper(
    "Selective Kernel Networks",
    "Xiang Li and Wenhai Wang and Xiaolin Hu and Jian Yang",
    2019,
    "1903.06586",
)
STRIP_POOLING = Paper(
    "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing",
    "Qibin Hou and Li Zhang and Ming-Ming Cheng and Jiashi Feng",
    2020,
    "2003.13328",
)

"""Blocks by name: options that are refused, and blocks that users register."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.config import GraftConfig, ModelConfig
from zoo.detector import build
from zoo.errors import ChannelError, ConfigError, UnknownBlockError
from zoo.layers import blocks
from zoo.layers.blocks import BLOCKS, register_block

pytestmark = pytest.mark.fast


class Scaled(nn.Module):
    def __init__(self, dim: int, *, times: float = 2.0, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride, 1)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.times


class Whole(nn.Module):
    """Fails where a size is odd."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(3, (2, -1)).flatten(3)


class Pair(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return x, x  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def _names_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "_registered", {})
    monkeypatch.setenv(blocks.MODULES, "")
    blocks.load_plugins.cache_clear()
    yield
    blocks.load_plugins.cache_clear()


def with_graft(block: str, **options: Any) -> ModelConfig:
    return ModelConfig("mine", "yolov8", "n", (GraftConfig(9, block, options),))


def test_every_block_is_a_module_class_that_takes_channels() -> None:
    for name in BLOCKS:
        assert issubclass(BLOCKS[name], nn.Module), name
        first = next(iter(inspect.signature(BLOCKS[name]).parameters.values()))
        assert first.name == "dim", name


@pytest.mark.parametrize(
    ("name", "words"),
    [("hatt", "Did you mean hat"), ("qqqq", "Known are a2"), ("os.system", "register_block"), ("", "zoo_plugin")],
)
def test_unknown_names(name: str, words: str) -> None:
    with pytest.raises(UnknownBlockError, match=words) as error:
        blocks.build(name, 8, {})
    assert isinstance(error.value, ConfigError) and "zoo.register_block" in str(error.value)
    assert name not in BLOCKS


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a2", {"c_mm": 4}, "no option 'c_mm'. Did you mean c_m"),
        ("a2", {"c_m": "4"}, "c_m must be a whole number or None, found '4'"),
        ("a2", {"c_m": True}, "c_m must be a whole number or None, found True"),
        ("conv", {"depthwise": 1}, "depthwise must be True or False, found 1"),
        ("dattn", {"heads": 2, "offset_range": "far"}, "offset_range must be a number or None"),
        ("hat", {"depths": 4}, "depths must be a list of whole numbers"),
        ("mine", {"time": 2}, "no option 'time'. Did you mean times"),
        ("mine", {"times": "2"}, "times must be a number"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    register_block("mine", Scaled)
    with pytest.raises(ConfigError, match=words):
        blocks.build(name, 8, options)


def test_channels_that_do_not_fit_keep_their_own_error() -> None:
    with pytest.raises(ChannelError, match="heads=3"):
        blocks.build("dattn", 8, {"heads": 3})


def test_a_whole_number_is_a_number() -> None:
    register_block("mine", Scaled)
    assert blocks.build("mine", 8, {"times": 3}).times == 3


def test_a_registered_block_is_a_block_like_any_other() -> None:
    zoo.register_block("mine", Scaled)
    assert "mine" in BLOCKS and BLOCKS["mine"] is Scaled and list(BLOCKS)[-1] == "mine"
    assert len(BLOCKS) == len(list(BLOCKS))
    model = build(with_graft("mine", times=3.0))
    assert isinstance(model.grafts["9"].block, Scaled)
    assert model.grafts["9"].block.training is model.training is False
    assert model.config.grafts == with_graft("mine", times=3.0).grafts
    assert blocks.registered() == {"mine": Scaled}


def test_registering_again() -> None:
    register_block("mine", Scaled)
    register_block("mine", Scaled)
    with pytest.raises(ConfigError, match=r"'mine' exists .*Scaled.*another name"):
        register_block("mine", Whole)
    with pytest.raises(ConfigError, match=r"'a2' exists \(zoo.layers.a2.DoubleAttention\)"):
        register_block("a2", Scaled)
    assert BLOCKS["mine"] is Scaled


@pytest.mark.parametrize("name", ["", "Mine", "my-block", "2nd", "a" * 41, "a.b", "é", "a+b", "a\n", None, 7], ids=repr)
def test_names_that_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a block"):
        register_block(name, Scaled)


@pytest.mark.parametrize(
    "cls", [dict, "Scaled", lambda dim: nn.Identity(), nn.Identity()], ids=["type", "text", "function", "instance"]
)
def test_what_is_no_module_class_is_refused(cls: Any) -> None:
    with pytest.raises(ConfigError, match=r"subclass of torch\.nn\.Module"):
        register_block("mine", cls)


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (Scaled, {"stride": 2}, r"turned a map of \(1, 256, 7, 5\) into \(1, 256, 4, 3\); a graft keeps the shape"),
        (Whole, {}, "failed on a map of 7 x 5 pixels and 256 channels"),
        (nn.Identity, {}, None),
        (Pair, {}, "failed on|into tuple"),
        (nn.Conv2d, {}, "cannot be made on 256 channels"),
    ],
)
def test_blocks_that_are_no_grafts(cls: type[nn.Module], options: dict[str, Any], words: str | None) -> None:
    register_block("mine", cls)
    if words is None:
        build(with_graft("mine", **options))
        return
    with pytest.raises(ConfigError, match=words):
        build(with_graft("mine", **options))


def test_a_saved_model_of_an_unregistered_block_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_block("mine", Scaled)
    model = build(with_graft("mine", times=3.0))
    nn.init.normal_(model.grafts["9"].gamma)
    zoo.save(model, tmp_path)
    again = zoo.create(f"local-dir:{tmp_path}")
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(again(x)[0], model(x)[0], rtol=1e-2, atol=1e-1)
    monkeypatch.setattr(blocks, "_registered", {})
    with pytest.raises(UnknownBlockError, match=r"'mine'.*zoo\.register_block\(\"mine\", YourClass\).*'zoo_plugin'"):
        zoo.create(f"local-dir:{tmp_path}")


def entry(value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint("plugin", value, blocks.PLUGINS)


def test_entry_points_are_imported_for_unknown_names_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "zoo_test_plugin.py").write_text(
        textwrap.dedent(
            """
            import zoo
            from torch import nn

            class Same(nn.Identity):
                pass

            zoo.register_block("same", Same)
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    asked: list[str] = []

    def found(*, group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [entry("zoo_no_such_module"), entry("zoo_test_plugin")]

    monkeypatch.setattr(blocks, "entry_points", found)
    blocks.build("a2", 8, {})
    assert not asked and "zoo_test_plugin" not in sys.modules
    monkeypatch.setenv(blocks.MODULES, "zoo_other_missing")
    with caplog.at_level(logging.WARNING, logger="zoo"):
        assert type(blocks.build("same", 8, {})).__module__ == "zoo_test_plugin"
    assert "zoo_no_such_module" in caplog.text and "zoo_other_missing" in caplog.text
    with pytest.raises(UnknownBlockError):
        blocks.build("other", 8, {})
    assert asked == ["zoo_plugin"]
    sys.modules.pop("zoo_test_plugin")


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_processes_started_from_this_one_know_the_modules_that_registered() -> None:
    build_it = "from zoo.layers import blocks; print(type(blocks.build('mine', 8, {})).__name__)"
    with pytest.raises(AssertionError, match="UnknownBlockError"):
        python(build_it)
    register_block("mine", Scaled)
    assert os.environ[blocks.MODULES] == __name__
    with pytest.raises(AssertionError, match=f"{__name__} .*did not load|UnknownBlockError"):
        python(build_it)  # this module registers nothing when it is imported
    os.environ[blocks.MODULES] = "tests.layers.own_block"
    assert python(build_it).strip() == "Mine"


def test_a_block_of_a_script_is_carried_by_its_code(tmp_path: Path) -> None:
    """As the trainer's callbacks are, to the processes that Ultralytics starts for several GPUs."""
    script = """
        import sys, cloudpickle, zoo
        from torch import nn
        from zoo.layers import blocks

        class Mine(nn.Module):
            def __init__(self, dim, *, width=3):
                super().__init__()
                self.conv = nn.Conv2d(dim, dim, width, padding=width // 2)

            def forward(self, x):
                return self.conv(x)

        zoo.register_block("mine", Mine)
        with open(sys.argv[1], "wb") as file:
            cloudpickle.dump({"callbacks": [blocks.Carried()]}, file)
        """
    python(textwrap.dedent(script), str(tmp_path / "state"))
    read = "import sys, pickle; pickle.load(open(sys.argv[1], 'rb')); "
    read += "from zoo.layers import blocks; print(type(blocks.build('mine', 8, {'width': 5})).__name__)"
    assert python(read, str(tmp_path / "state")).strip() == "Mine"


def test_the_table_imports_neither_torch_nor_timm() -> None:
    code = "import sys, zoo.layers.blocks as b; list(b.BLOCKS); print('torch' in sys.modules, 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

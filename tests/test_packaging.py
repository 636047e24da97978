"""The wheel, installed away from the checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.names import parse
from zoo.weights import manifest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist], cwd=ROOT, check=True)
    (wheel,) = dist.glob("yolo_attention_zoo-*.whl")
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline", "--target", site]
    subprocess.run([*uv, wheel], check=True)
    return site


def run(site: Path, code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_data_files_travel(site):
    for name in ("weights_manifest.json", "results/models.csv", "results/exports.csv"):
        assert (site / "zoo/_data" / name).read_bytes() == (ROOT / name).read_bytes()
    (licence,) = site.glob("*.dist-info/licenses/LICENSE")
    assert "AFFERO" in licence.read_text()


def test_the_wheel_has_the_first_weights_of_each_family_and_is_small(site):
    shipped = {path.name.removesuffix(".safetensors") for path in (site / "zoo/_data/weights").iterdir()}
    families: dict[str, str] = {}
    for name in manifest.entries():
        families.setdefault(f"{parse(name).base}_{parse(name).family}", name)
    assert shipped == set(families.values())
    assert not (site / "zoo/_data/cards").exists()
    assert sum(path.stat().st_size for path in (site / "zoo").rglob("*") if path.suffix != ".pyc") <= 70e6


def test_nothing_else_is_installed(site):
    assert {path.name for path in site.iterdir() if path.is_dir()} - {"bin"} == {
        "zoo",
        f"yolo_attention_zoo-{zoo.__version__}.dist-info",
    }


def test_command_line_works(site):
    listing = run(site, "import sys; from zoo.cli import main; sys.exit(main())", "list")
    assert {line.split()[0] for line in listing.splitlines()[1:]} == set(zoo.list_models())


def test_models_build_and_weights_load(site):
    code = """
import sys
import zoo
from zoo import assets

assert zoo.__file__.startswith(sys.argv[1]) and str(assets.root()).startswith(sys.argv[1])
print(type(zoo.create("yolov8n_dattn")).__name__)
there = {path.name.removesuffix(".safetensors") for path in (assets.root() / "weights").iterdir()}
for name in zoo.list_models(pretrained=True):
    if name in there:
        zoo.create(name, pretrained=True)
        continue
    try:
        zoo.create(name, pretrained=True)
    except zoo.ZooError as error:
        assert "ZOO_WEIGHTS_DIR" in str(error) and "checkout" in str(error)
    else:
        raise AssertionError(name)
"""
    assert "GraftedDetectionModel" in run(site, code, str(site))

"""Which connections each verb tries that nobody asked for, into `results/offline.csv`; each count should be zero.

Run: `python -m benchmarks.offline`, on Linux with `unshare`, `ip` and `strace`. Every command runs as a new user's
would: in a network namespace that has a loopback device and no route, with empty settings and caches, and without the
switches that keep Ultralytics and the Hub offline. `strace` records each `connect` of each of its processes; what goes
neither to a local socket nor to the loopback device counts, and so does every look-up of a name. Verbs run from a copy
of the checkout, because `zoo card` writes into it. The last row is the fast tests, some of which
import Ultralytics before the zoo to show that it then looks up names. A row replaces the earlier one of its verb.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from reproduce.datasets import digits, layout
from zoo import records

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "results" / "offline.csv"
MODEL = "yolov8n_dattn.digits"
SHORT = "data=data.yaml imgsz=64 batch=4 device=cpu plots=False"
VERBS = {
    "list": "list --pretrained",
    "info": "info yolov8n+cbam@neck_p4",
    "verify": f"verify {MODEL}",
    "predict": f"predict {MODEL} images/train video.mp4 --json d.json --csv d.csv --txt --crops",
    "track": f"track {MODEL} video.mp4",
    "train": f"train yolov8n_dattn {SHORT} epochs=1",
    "val": f"val {MODEL} {SHORT}",
    "export": f"export {MODEL} format=onnx imgsz=64",
    "benchmark": f"benchmark {MODEL} data=data.yaml imgsz=64 format=onnx",
    "explain": f"explain {MODEL} images/train/00000.png",
    "report": f"report {ROOT / 'results' / 'digits.csv'}",
    "compare": f"compare yolov8n yolov8n_dattn {SHORT} seeds=2 epochs=1 dry_run=True",
    "card": f"card {MODEL}",
    "app": "app --space space",
    "push": f"push {MODEL} foo",
    "pull": f"pull weights {MODEL}",
}
NOT_RUN = {"graft", "sweep"}
"""Verbs that do nothing but what another verb of the table does, in processes of their own."""
LOCAL = re.compile(r"AF_UNIX|AF_NETLINK|AF_UNSPEC|inet_addr\(\"127\.|::1\"|::ffff:127\.")
CONTROL = "import socket; socket.socket().connect_ex(('192.0.2.1', 80))"
NAMESPACE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def make_data(folder: Path) -> None:
    """A small data set and a short video."""
    import cv2

    for split in ("train", "val"):
        layout.write_split(folder, split, digits.NAMES, (digits.compose(split, index) for index in range(8)))
    layout.write_yaml(folder, digits.NAMES, {"train": "", "val": ""})
    writer = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (192, 192))
    for index in range(8):
        pixels = digits.compose("val", index, (192, 192)).pixels
        assert pixels is not None
        writer.write(pixels[..., ::-1].copy())
    writer.release()


def copy_checkout(place: Path) -> Path:
    """What an installation consists of; weights, which nothing writes, by a link."""
    for name in ("zoo", "cards", "results"):
        shutil.copytree(ROOT / name, place / name)
    shutil.copy(ROOT / "weights_manifest.json", place)
    (place / "weights").symlink_to(ROOT / "weights")
    return place


def watch(
    command: list[str], folder: Path, home: Path, checkout: Path
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command without a network; what it printed, and the connections that it tried."""
    hidden = {"YOLO_OFFLINE", "YOLO_AUTOINSTALL", "HF_HUB_OFFLINE", "HF_TOKEN", "ORT_DISABLE_TELEMETRY", "CI"}
    hidden |= {"http_proxy", "https_proxy"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "YOLO_CONFIG_DIR": str(home),
        "PYTHONPATH": str(checkout),
    }
    log = home / "connections.log"
    trace = ["strace", "-f", "-qq", "-e", "trace=connect", "-e", "signal=none", "-o", str(log)]
    done = subprocess.run([*NAMESPACE, *trace, *command], cwd=folder, env=environment, capture_output=True, text=True)
    calls = log.read_text(errors="replace").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    tried = [call for call in calls if "connect(" in call]
    return done, [call for call in tried if "htons(53)" in call or not LOCAL.search(call)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbs", nargs="+", choices=list(VERBS), default=list(VERBS))
    parser.add_argument("--no-tests", action="store_false", dest="tests", help="leave the fast tests out")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    if missing := [program for program in ("unshare", "ip", "strace") if not shutil.which(program)]:
        parser.error(f"this machine lacks {', '.join(missing)}")

    about = records.environment(packages=("torch", "ultralytics"))
    unasked = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_data(folder)
        checkout = copy_checkout(folder / "checkout")
        if not watch([sys.executable, "-c", CONTROL], folder, folder, checkout)[1]:
            parser.error("a connection that was made on purpose was not seen")
        runs = [(verb, folder, checkout, ["-m", "zoo", *shlex.split(VERBS[verb])]) for verb in options.verbs]
        if options.tests:
            runs.append(("fast tests", ROOT, ROOT, ["-m", "pytest", "-q", "-m", "fast", "-p", "no:cacheprovider"]))
        for name, place, code, arguments in runs:
            home = folder / f"home of {name}"
            home.mkdir()
            done, connections = watch([sys.executable, *arguments], place, home, code)
            words = f"zoo {VERBS[name]}" if name in VERBS else "pytest -m fast"
            row = {"verb": name, "command": words.replace(f"{ROOT}/", ""), "exit": str(done.returncode)}
            row |= {"connections": str(len(connections)), **about}
            rows = {earlier["verb"]: earlier for earlier in records.read(options.output)} | {name: row}
            records.write(options.output, list(rows.values()))
            unasked += len(connections)
            print(f"{name}: exit {done.returncode}, {len(connections)} connections", flush=True)
            for line in [*connections[:5], *((done.stdout + done.stderr).splitlines()[-5:] if done.returncode else [])]:
                print(f"    {line}", flush=True)
    return int(unasked > 0)


if __name__ == "__main__":
    sys.exit(main())

"""`zoo app` under steady requests for an hour, into `results/soak_app.csv`; the slopes should be zero, and none fail.

Run: `python -m benchmarks.soak_app`, on Linux. The page is served by a process of its own. Every request uploads one of
some pictures of digits and has it detected in; requests keep coming at their rate whether the page keeps up or not.
Those that its full queue turns away are counted as refused, and those that came while 100 waited as unsent. Once a
second the memory and the open files of the process are read, and the files in its temporary folder counted. Slopes are
those of straight lines through the readings after the first quarter, an hour.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from gradio_client import Client, handle_file

from benchmarks.predict import make_images
from zoo import records

TABLE = Path(__file__).parents[1] / "results" / "soak_app.csv"
MODEL = "yolov8n_dattn.digits"
PICTURES = 20
WAITING = 100
FULL = "queue is full"
"""What Gradio says when it turns a request away."""


def serve(temporary: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the page, its temporary files in a folder of ours; the process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "zoo", "app", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(temporary)}, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}/"
        time.sleep(0.5)
    raise SystemExit(f"zoo app ended with {process.returncode}")


def ask(client: Client, picture: Path, imgsz: int) -> tuple[str, float]:
    """One request: `answered`, `refused` or what went wrong, and its seconds."""
    started = time.perf_counter()
    try:
        client.predict(handle_file(str(picture)), MODEL, 0.25, imgsz, api_name="/detect")
        outcome = "answered"
    except Exception as error:  # whatever the client makes of an answer
        outcome = "refused" if FULL in str(error).lower() else f"{type(error).__name__}: {error}"
    return outcome, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--imgsz", type=int, default=96)
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()

    readings = []
    done: list[tuple[str, float]] = []
    requests = int(options.seconds * options.rate)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WAITING) as pool:
        place = Path(folder)
        pictures = sorted(make_images(place / "pictures", PICTURES).iterdir())
        temporary = place / "temporary"
        temporary.mkdir()
        process, address = serve(temporary)
        try:
            client = Client(address, verbose=False)
            ask(client, pictures[0], options.imgsz)  # loads the weights
            page = psutil.Process(process.pid)
            started = time.perf_counter()
            pending: list[Future[tuple[str, float]]] = []
            for number in range(requests):
                time.sleep(max(0.0, started + number / options.rate - time.perf_counter()))
                finished = {job for job in pending if job.done()}
                done += [job.result() for job in finished]
                pending = [job for job in pending if job not in finished]
                if len(pending) < WAITING:
                    pending.append(pool.submit(ask, client, pictures[number % PICTURES], options.imgsz))
                if number % max(1, round(options.rate)) == 0:
                    left = sum(len(files) for _, _, files in os.walk(temporary))
                    megabytes = page.memory_info().rss / 2**20
                    readings.append((time.perf_counter() - started, megabytes, page.num_fds(), left))
            done += [job.result() for job in pending]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    outcomes = Counter(outcome for outcome, _ in done)
    times = [seconds for outcome, seconds in done if outcome == "answered"]
    later = np.array(readings[len(readings) // 4 :])
    slopes = [np.polyfit(later[:, 0] / 3600, later[:, column], 1)[0] for column in (1, 2)]
    failed = {outcome: count for outcome, count in outcomes.items() if outcome not in {"answered", "refused"}}
    row = {"seconds": options.seconds, "requests_per_second": options.rate, "imgsz": options.imgsz}
    row |= {"answered": outcomes["answered"], "refused": outcomes["refused"], "unsent": requests - len(done)}
    row |= {"failed": sum(failed.values())}
    row |= {"median_seconds": f"{statistics.median(times):.2f}", "most_seconds": f"{max(times):.2f}"}
    row |= {"most_mb": f"{later[:, 1].max():.0f}", "mb_per_hour": f"{slopes[0]:.1f}"}
    row |= {"handles_per_hour": f"{slopes[1]:.1f}", "most_temporary_files": int(later[:, 3].max())}
    print(", ".join(f"{key} {value}" for key, value in row.items()), *failed, sep="\n", flush=True)
    records.write(options.output, [row | records.environment(packages=("torch", "ultralytics", "gradio"))])


if __name__ == "__main__":
    main()

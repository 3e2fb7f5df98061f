"""Measures how long labels of many images take to be packed, and how that grows with their number.

    python benchmarks/packing.py [IMAGES]

Labels of IMAGES (5 000) images and of twice as many are packed for a training, which copies the images into the labels,
and for a prediction, which sends them as files. Memory is the largest resident set of any program of ours that opened
the labels.
"""

import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rtc.client.package_builder.build import build_tracking, build_training
from rtc.common.version import VERSION

IMAGES = 5_000
SIDE = 128
"""Width and height of an image in pixels."""
CONFIG = """\
data_config: {train_labels_path: [labels.slp]}
model_config: {head_configs: {single_instance: {confmaps: {part_names: null}}}}
trainer_config: {max_epochs: 1}
"""
DRAW = """
import sys, numpy as np, imageio.v3 as images, sleap_io as sio
from pathlib import Path
folder, count, side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
noise = np.random.default_rng(1).integers(0, 255, (side, side), dtype=np.uint8)
data = images.imwrite("<bytes>", noise, extension=".png")
paths = [folder / f"{number:05}.png" for number in range(count)]
for path in paths: path.write_bytes(data)
video = sio.Video.from_filename([str(path) for path in paths])
skeleton = sio.Skeleton(nodes=["a", "b"])
points = np.array([[1.0, 2.0], [3.0, 4.0]])
frames = [sio.LabeledFrame(video, n, [sio.Instance.from_numpy(points, skeleton=skeleton)]) for n in range(count)]
sio.Labels(frames, videos=[video], skeletons=[skeleton]).save(sys.argv[4], verbose=False)
"""


def main() -> None:
    """Print the seconds for both numbers of images, their ratio, and the memory."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    sys.stdout.write(
        f"sleap-rtc {VERSION}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}, images of {SIDE}²\n"
    )
    for what in ("train", "track"):
        few, many = (measure(what, count) for count in (images, 2 * images))
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        sys.stdout.write(
            f"{what}: {images} images {few:.1f} s, {2 * images} images {many:.1f} s: {many / few:.2f} x; {memory} MB\n"
        )


def measure(what: str, count: int) -> float:
    """Return the seconds in which labels of `count` images are packed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels, target = folder / "labels.slp", folder / "out.zip"
        (folder / "images").mkdir()
        drawing = [sys.executable, "-c", DRAW, str(folder / "images"), str(count), str(SIDE), str(labels)]
        subprocess.run(drawing, check=True)
        (folder / "run").mkdir()
        for file in (folder / "c.yaml", folder / "run/training_config.yaml"):
            file.write_text(CONFIG)
        (folder / "run/best.ckpt").write_bytes(b"")
        builds: dict[str, Callable[[], None]] = {
            "train": lambda: build_training(labels, [folder / "c.yaml"], (), target, print),
            "track": lambda: build_tracking(labels, [folder / "run"], {}, target, print),
        }
        begin = time.perf_counter()
        builds[what]()
        return time.perf_counter() - begin


if __name__ == "__main__":
    main()

"""Draws a small data set, and writes a job package that trains and predicts on it: `python -m rtc.demo_data OUT.zip`.

It runs in a process of its own, so that no other part of sleap-rtc has to import numpy and sleap-io. Each frame shows
one bug with three body parts; sleap-nn learns to find these parts within seconds on a CPU, with losses that visibly
fall.
"""

import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

SEED = 7
FRAMES = 16
SIZE = 96
"""Width and height of a frame, in pixels."""
EPOCHS = 16
HEAD = "single_instance"
RUN = f"demo.{HEAD}.n={FRAMES}"
LABELS = "demo.pkg.slp"

CONFIG: dict[str, Any] = {
    "data_config": {
        "train_labels_path": [LABELS],
        "val_labels_path": None,
        "validation_fraction": 0.2,
        "data_pipeline_fw": "torch_dataset",
        "preprocessing": {"ensure_grayscale": True, "scale": 1.0},
        "use_augmentations_train": False,
    },
    "model_config": {
        "backbone_config": {
            "unet": {
                "in_channels": 1,
                "kernel_size": 3,
                "filters": 8,
                "filters_rate": 1.5,
                "max_stride": 8,
                "middle_block": True,
                "up_interpolate": True,
                "stacks": 1,
                "convs_per_block": 2,  # with 1, sleap-nn 0.3.5 crashes
                "output_stride": 2,
            }
        },
        "head_configs": {HEAD: {"confmaps": {"part_names": None, "sigma": 2.5, "output_stride": 2}}},
    },
    "trainer_config": {
        "train_data_loader": {"batch_size": 4, "shuffle": True, "num_workers": 0},
        "val_data_loader": {"batch_size": 4, "shuffle": False, "num_workers": 0},
        "trainer_accelerator": "auto",
        "trainer_devices": 1,
        "enable_progress_bar": False,
        "min_train_steps_per_epoch": 6,
        "visualize_preds_during_training": False,
        "max_epochs": EPOCHS,
        "seed": SEED,
        "use_wandb": False,
        "save_ckpt": True,
        "ckpt_dir": "models",
        "run_name": RUN,
        "optimizer_name": "Adam",
        "optimizer": {"lr": 0.003},
    },
}
PREDICTIONS = "demo.predictions.slp"
JOBS: dict[str, Any] = {
    "training": [{"cfg": f"{HEAD}.yaml", "run_path": f"models/{RUN}", "train_labels": LABELS}],
    "inference": [
        {
            "data_path": LABELS,
            "models": [f"models/{RUN}"],
            "output_path": PREDICTIONS,
            "type": "labels",
            "only_suggested_frames": False,
            "tracking": {},
        }
    ],
}
SCRIPT = (
    "#!/bin/bash\n"
    f"sleap train --config-name {HEAD}.yaml --config-dir . "
    f"'trainer_config.ckpt_dir=\"models\"' 'trainer_config.run_name=\"{RUN}\"' \n"
)
PREDICT_SCRIPT = f"#!/bin/bash\nsleap predict --gui --data_path {LABELS} --model_paths models/{RUN} -o {PREDICTIONS}\n"


def draw(random: Any) -> tuple[Any, Any]:
    """Draw one frame.

    Args:
        random: a numpy random generator.

    Returns:
        The frame (uint8, SIZE x SIZE), and the points of head, thorax and tail (shape 3 x 2: x and y in pixels).
    """
    import numpy as np

    center, angle = random.uniform(SIZE * 0.3, SIZE * 0.7, 2), random.uniform(0, 2 * np.pi)
    half_length = 14 * np.array([np.cos(angle), np.sin(angle)])
    points = np.stack([center + half_length, center, center - half_length])
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    frame = random.normal(30, 4, (SIZE, SIZE))
    for (px, py), radius, brightness in zip(points, (4, 7, 3), (225, 150, 90), strict=True):
        frame += brightness * np.exp(-(((x - px) ** 2 + (y - py) ** 2) / (0.8 * radius**2)))
    return np.clip(frame, 0, 255).astype(np.uint8), points


def write_labels(path: Path) -> None:
    """Draw all frames, and write them with their labels into one `.pkg.slp` file, which contains its images."""
    import imageio.v3 as images
    import numpy as np
    import sleap_io

    random = np.random.default_rng(SEED)
    drawn = [draw(random) for _ in range(FRAMES)]
    edges = [("head", "thorax"), ("thorax", "tail")]
    skeleton = sleap_io.Skeleton(nodes=["head", "thorax", "tail"], edges=edges, name="bug")
    files = [path.with_name(f"frame{index:02}.png") for index in range(FRAMES)]
    for file, (frame, _) in zip(files, drawn, strict=True):
        images.imwrite(file, frame)
    video = sleap_io.Video.from_filename([str(file) for file in files], grayscale=True)
    frames = [
        sleap_io.LabeledFrame(video, index, [sleap_io.Instance.from_numpy(points, skeleton=skeleton)])
        for index, (_, points) in enumerate(drawn)
    ]
    sleap_io.Labels(frames, videos=[video], skeletons=[skeleton]).save(str(path), embed="user", verbose=False)


def write_package(target: Path) -> None:
    """Write the job package to `target`, which exists only when the package is complete."""
    partial_file = target.with_name(target.name + ".part")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(partial_file, "w", zipfile.ZIP_DEFLATED) as archive:
        labels = Path(folder, LABELS)
        write_labels(labels)
        archive.write(labels, LABELS)
        archive.writestr(f"{HEAD}.yaml", yaml.safe_dump(CONFIG, sort_keys=False))
        archive.writestr("jobs.yaml", yaml.safe_dump(JOBS, sort_keys=False))
        archive.writestr("train-script.sh", SCRIPT)
        archive.writestr("inference-script.sh", PREDICT_SCRIPT)
    partial_file.replace(target)


def main() -> None:
    """Write the job package to the path on the command line, and print its name."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m rtc.demo_data OUT.zip")
    target = Path(sys.argv[1])
    write_package(target)
    sys.stdout.write(f"Written: {target}, a training package of {target.stat().st_size / 1000:.1f} kB.\n")


if __name__ == "__main__":
    main()

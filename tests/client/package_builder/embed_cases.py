"""Makes projects of many kinds of videos, embeds their images, and prints whether sleap-io reads the same values after.

It runs in a process of its own, because sleap-io and video decoders must not be in that of the tests. Output: a line of
JSON with, for each case, "same", or the sentence with which it was refused; and what was said to the person.
"""

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import h5py
import imageio_ffmpeg
import numpy as np
import sleap_io as sio

PROGRAM, ROOT = Path(sys.argv[1]), Path(sys.argv[2])
SPEC = importlib.util.spec_from_file_location("embed_subprocess", PROGRAM)
PACKER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PACKER)
RANDOM = np.random.default_rng(1)
FRAMES = (5, 0, 3)


def pixels(dtype, channels=1, top=1.0, count=6):
    return (RANDOM.random((count, 16, 24, channels)) * top).astype(dtype)


def array(folder, dtype, channels=1, top=1.0, layout="channels_last"):
    images = pixels(dtype, channels, top)
    with h5py.File(folder / "v.h5", "w") as tree:
        tree["box"] = images if layout == "channels_last" else images.transpose(0, 3, 2, 1)
    return sio.Video.from_filename(str(folder / "v.h5"), dataset="box", input_format=layout)


def sequence(folder, endings, dtype="uint8", channels=3, top=255):
    paths = [folder / f"{place}.{endings[place % len(endings)]}" for place in range(6)]
    for path, image in zip(paths, pixels(dtype, channels, top), strict=True):
        assert cv2.imwrite(str(path), image)
    return sio.Video.from_filename([str(path) for path in paths])


def sizes(folder, ending, dtype):
    paths = [folder / f"{place}.{ending}" for place in range(6)]
    for place, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((16 + place, 24), 0.1 * place + 0.5).astype(dtype))
    return sio.Video.from_filename([str(path) for path in paths])


def movie(path, times=range(0, 60 * 40, 40)):
    """Write a video whose frames are shown at these times, in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for place, time in enumerate(times):
            image = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 4 * place, np.uint8), format="rgb24")
            image.pts, image.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def rotated(folder):
    movie(folder / "straight.mp4")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-display_rotation", "90", "-i", folder / "straight.mp4"]
    subprocess.run([*command, "-c", "copy", folder / "v.mp4"], check=True, capture_output=True)
    return sio.Video.from_filename(str(folder / "v.mp4"))


def uneven(folder):
    times = [40 * place + (2_000 if place > 20 else 0) for place in range(60)]
    return sio.Video.from_filename(str(movie(folder / "v.mp4", times)))


def package(folder):
    """Refer to the images inside another project."""
    video = sequence(folder, ["jpg"])
    save(video, folder / "other.pkg.slp", embed="user")
    return sio.load_slp(str(folder / "other.pkg.slp")).videos[0]


def broken(folder):
    video = sequence(folder, ["png"])
    Path(video.filename[3]).write_bytes(b"no image")
    return video


CASES = {
    "uint8": lambda folder: array(folder, "uint8", 1, 255),
    "colour": lambda folder: array(folder, "uint8", 3, 255),
    "fractions": lambda folder: array(folder, "float32"),
    "fractions in colour, channels first": lambda folder: array(folder, "float64", 3, layout="channels_first"),
    "half": lambda folder: array(folder, "float16", top=255),
    "16 bit": lambda folder: array(folder, "uint16", 1, 60_000),
    "signed": lambda folder: array(folder, "int16", 1, 3_000),
    "32 bit": lambda folder: array(folder, "uint32", 1, 90_000),
    "bool": lambda folder: array(folder, "bool", 1, 2),
    "two channels": lambda folder: array(folder, "uint8", 2, 255),
    "alpha": lambda folder: array(folder, "uint8", 4, 255),
    "png": lambda folder: sequence(folder, ["png"]),
    "jpg": lambda folder: sequence(folder, ["jpg", "jpeg"]),
    "bmp": lambda folder: sequence(folder, ["bmp"]),
    "png with alpha": lambda folder: sequence(folder, ["png"], channels=4),
    "png of 16 bit": lambda folder: sequence(folder, ["png"], "uint16", 1, 60_000),
    "tif of 16 bit in colour": lambda folder: sequence(folder, ["tif"], "uint16", 3, 60_000),
    "tif with fractions": lambda folder: sequence(folder, ["tif"], "float32", 3, 1),
    "png and jpg": lambda folder: sequence(folder, ["png", "jpg"]),
    "jpg and tif": lambda folder: sequence(folder, ["jpg", "tif", "bmp"]),
    "bmp and png": lambda folder: sequence(folder, ["bmp", "png"]),
    "sizes": lambda folder: sizes(folder, "png", "uint8"),
    "sizes with fractions": lambda folder: sizes(folder, "tif", "float32"),
    "package": package,
    "crop": lambda folder: sio.Video.from_filename(str(movie(folder / "v.mp4"))).crop((3, 4, 13, 12)),
    "rotated": rotated,
    "uneven": uneven,
    "too short": lambda folder: sequence(folder, ["png"]),
    "broken": broken,
}


def save(video, path, frames=FRAMES, **options):
    skeleton = sio.Skeleton(nodes=["head", "tail"])
    points = np.array([[3.0, 4.0], [5.0, 6.0]])
    labelled = [
        sio.LabeledFrame(video, frame, [sio.Instance.from_numpy(points, skeleton=skeleton)]) for frame in frames
    ]
    gone = sio.Video(filename="/nowhere/gone.mp4", open_backend=False)
    labels = sio.Labels(labelled, videos=[video, gone] if not options else [video], skeletons=[skeleton])
    labels.save(str(path), verbose=False, **{"embed": False} | options)


def shown(path):
    return [frame.image for frame in sio.load_slp(str(path)).labeled_frames]


def run(name):
    folder = ROOT / name.replace(" ", "_")
    folder.mkdir()
    project, copy = folder / "x.slp", folder / "out.pkg.slp"
    frames = (99,) if name == "too short" else FRAMES
    save(CASES[name](folder), project, frames)
    video = sio.load_slp(str(project), open_videos=False).videos[0]
    paths = video.filename if isinstance(video.filename, list) else [video.filename]
    wanted = {"paths": paths, "is_sequence": isinstance(video.filename, list), "frames": sorted(frames)}
    nothing = {"paths": ["/nowhere/gone.mp4"], "is_sequence": False, "frames": []}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            PACKER.embed(project, copy, [wanted, nothing])
    except PACKER.ImageError as error:
        return {"outcome": str(error), "said": said.getvalue()}
    before, after = shown(project), shown(copy)
    pairs = list(zip(before, after, strict=True))
    same = all(a.dtype == b.dtype and a.shape == b.shape and (a == b).all() for a, b in pairs)
    moved = folder.rename(folder.with_name(folder.name + "_moved"))
    packed = sio.load_slp(str(moved / "out.pkg.slp"))
    alone = all(video.exists(check_all=True) and video.shape is not None for video in packed.videos)
    alone = alone and len(list(packed.labeled_frames[0].image)) > 0
    return {"outcome": "same" if same and alone else f"{same=} {alone=}", "said": said.getvalue()}


print(json.dumps({name: run(name) for name in CASES}))

"""How fast a trained network scores, beside plain PyTorch, ONNX Runtime, OpenVINO and Keras, on this machine.

    python benchmarks/inference.py --peers FOLDER

FOLDER is a virtual environment with the peers' tools; where there is none it is made first (about 1 GB: onnx,
onnxscript, onnxruntime, openvino, keras, tensorflow-cpu, pillow). Without --peers only plain PyTorch is measured.
What is measured, a process a run, all contestants in turn, so that a busy machine hurts all alike:

    digits      10,000 images of 28×28, the lecture's network: from pixels in memory to loss and accuracy
    small       1,000 images of 32×32, resnet18_small
    photos      64 images of 224×224, resnet18
    folder      2,000 JPEG files of 256×256 on disk to class names, resnet18_small; `decode` is the reading alone;
                ONNX Runtime and OpenVINO get batches that Pillow reads in as many threads as there are cores

Weights and pixels are random: how long it takes does not depend on them. Start-up, compilation and one small warm-up
are apart (`start`). Every contestant computes in float32 and must give our scores to 1e-3 (Keras has weights of its
own). Keras' `evaluate` is called as its users call it: batches of 32. Wall time: run it on an otherwise idle machine.
On a busy one, `cpu s`, the processor time of all threads, is what can still be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino", "keras", "tensorflow-cpu", "pillow")
NETS = {"digits": "lecture", "small": "resnet18_small", "photos": "resnet18", "folder": "resnet18_small"}
IMAGES = {"digits": 10_000, "small": 1_000, "photos": 64, "folder": 2_000}
CONTESTANTS = {
    "digits": ("convscope", "torch", "onnxruntime", "openvino", "keras"),
    "small": ("convscope", "torch", "onnxruntime", "openvino"),
    "photos": ("convscope", "torch", "onnxruntime", "openvino"),
    "folder": ("convscope", "torch", "decode", "onnxruntime", "openvino"),
}
IN_OUR_ENVIRONMENT = ("convscope", "torch", "decode")
BATCH = {"digits": 128, "small": 128, "photos": 16, "folder": 64}  # of those who have no habit of their own
JPEG_SIDE_PX = 256


# ---- the material ---------------------------------------------------------------------------------------------------


def prepare(case: str, folder: Path) -> None:
    """Pixels, labels, the model, and for the folder case JPEG files; the ONNX file is `export`'s."""
    import numpy as np
    import torch

    from convscope import nets
    from convscope.data import Preprocessing
    from convscope.model_file import Model, save_model

    torch.manual_seed(0)
    entry = nets.get(NETS[case])
    net = entry.net.bind(10)
    names = tuple(f"class {k}" for k in range(10))
    preprocessing = Preprocessing(entry.input_shape[1:], entry.input_shape[0])
    model = Model(net, net.build(entry.input_shape), entry.input_shape, names, preprocessing, {})
    save_model(model, folder / "model.safetensors")
    random = np.random.default_rng(0)
    if case == "folder":
        return write_jpegs(folder / "jpegs", random)
    np.save(folder / "pixels.npy", random.integers(0, 256, (IMAGES[case], *entry.input_shape), np.uint8))
    np.save(folder / "labels.npy", random.integers(0, 10, IMAGES[case]))


def write_jpegs(folder: Path, random: Any) -> None:
    """Pictures with soft shapes, as photos have them: noise of 16×16 enlarged."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for k in range(IMAGES["folder"]):
        soft = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8))
        soft.resize((JPEG_SIDE_PX, JPEG_SIDE_PX), Image.Resampling.BICUBIC).save(
            folder / f"{k:05}.jpg", quality=90
        )


def export(folder: Path, packages: str) -> None:
    """The model as an ONNX file, with torch from our environment and onnx from the peers'."""
    import torch

    from convscope.model_file import load_model

    sys.path.append(packages)
    model = load_model(folder / "model.safetensors")
    images = torch.rand(2, *model.input_shape)
    torch.onnx.export(
        model.module,
        (images,),
        str(folder / "model.onnx"),
        dynamo=False,
        input_names=["images"],
        output_names=["scores"],
        dynamic_axes={"images": {0: "n"}, "scores": {0: "n"}},
    )


# ---- the contestants: each returns what is timed, once it is ready -----------------------------------------------

Run = Callable[
    [int | None], Any
]  # on that many images, all with None; returns scores of the first eight, or None


def convscope(case: str, folder: Path) -> Run:
    """What `convscope evaluate` and `convscope predict` run."""
    import numpy as np

    from convscope.engine.plan import make_plan
    from convscope.engine.scoring import measure
    from convscope.model_file import load_model
    from convscope.prediction import predict

    model = load_model(folder / "model.safetensors")
    if case == "folder":
        files = sorted((folder / "jpegs").iterdir())
        return lambda count: consume(predict(model, files[:count]))
    plan = make_plan()
    plan.apply()
    pixels, labels = np.load(folder / "pixels.npy"), np.load(folder / "labels.npy")
    return lambda count: (
        measure(model.module, pixels[:count], labels[:count], model.preprocessing, plan).scores[:8].tolist()
    )


def torch(case: str, folder: Path) -> Run:
    """The loop of the tutorials."""
    import numpy as np
    import torch
    from PIL import Image

    from convscope.model_file import load_model

    model = load_model(folder / "model.safetensors")
    side = model.preprocessing.size_px[::-1]

    def read(path: Path) -> torch.Tensor:
        picture = Image.open(path).convert("RGB").resize(side, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

    def over_files(count: int | None) -> None:
        files = sorted((folder / "jpegs").iterdir())[:count]
        for at in range(0, len(files), BATCH[case]):
            model.module(torch.stack([read(path) for path in files[at : at + BATCH[case]]])).softmax(1).topk(
                3
            )

    def over_arrays(count: int | None) -> Any:
        scores = [model.module(part) for part in images[:count].split(BATCH[case])]
        return judged(torch.cat(scores).numpy(), labels[:count])

    if case != "folder":
        images = torch.from_numpy(np.load(folder / "pixels.npy")).float() / 255
        labels = np.load(folder / "labels.npy")
    return torch.inference_mode()(over_files if case == "folder" else over_arrays)


def decode(case: str, folder: Path) -> Run:
    """Nothing but reading the files, in as many threads as there are cores: what a folder takes at least."""
    from concurrent.futures import ThreadPoolExecutor

    from convscope.data import pictures
    from convscope.engine.plan import available_cores
    from convscope.model_file import load_model

    preprocessing = load_model(folder / "model.safetensors").preprocessing
    files = sorted((folder / "jpegs").iterdir())

    def run(count: int | None) -> None:
        with pictures.refusing_bombs(), ThreadPoolExecutor(available_cores()) as pool:
            for _ in pool.map(lambda path: pictures.decode(path, preprocessing), files[:count]):
                pass

    return run


def onnxruntime(case: str, folder: Path) -> Run:
    """ONNX Runtime with its default session."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    if case == "folder":
        return lambda count: consume(
            named(session.run(None, {"images": part})[0]) for part in read(folder, count)
        )
    images, labels = floats(folder), np.load(folder / "labels.npy")

    def run(count: int | None) -> Any:
        parts = range(0, len(images[:count]), BATCH[case])
        scores = [session.run(None, {"images": images[:count][at : at + BATCH[case]]})[0] for at in parts]
        return judged(np.concatenate(scores), labels[:count])

    return run


def openvino(case: str, folder: Path) -> Run:
    """OpenVINO set for throughput, with as many requests under way as it asks for."""
    import numpy as np
    import openvino

    def over_files(queue: Any, count: int | None) -> None:
        queue.set_callback(lambda request, _: named(request.get_output_tensor().data))
        for part in read(folder, count):
            queue.start_async({"images": part}, None)
        queue.wait_all()

    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(folder / "model.onnx"), "CPU", hints)
    if case == "folder":
        return lambda count: over_files(openvino.AsyncInferQueue(compiled), count)
    images, labels = floats(folder), np.load(folder / "labels.npy")
    batch = max(1, BATCH[case] // 2)

    def run(count: int | None) -> Any:
        found: dict[int, Any] = {}
        queue = openvino.AsyncInferQueue(compiled)
        queue.set_callback(lambda request, at: found.__setitem__(at, request.get_output_tensor().data.copy()))
        for at in range(0, len(images[:count]), batch):
            queue.start_async({"images": images[:count][at : at + batch]}, at)
        queue.wait_all()
        return judged(np.concatenate([found[at] for at in sorted(found)]), labels[:count])

    return run


def keras(case: str, folder: Path) -> Run:
    """The lecture's notebook in Keras on TensorFlow: `evaluate` as it is called by default."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    import keras
    import numpy as np
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    images = np.ascontiguousarray(floats(folder).transpose(0, 2, 3, 1))
    labels = np.eye(10, dtype=np.float32)[np.load(folder / "labels.npy")]
    return lambda count: consume(model.evaluate(images[:count], labels[:count], verbose=0))


def read(folder: Path, count: int | None) -> Iterable[Any]:
    """Batches (B, 3, 32, 32) of float32 in [0, 1]: the pictures of the folder, read by Pillow, in threads."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from PIL import Image

    def pixels(path: Path) -> Any:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))

    files = sorted((folder / "jpegs").iterdir())[:count]
    batch = BATCH["folder"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pictures = list(pool.map(pixels, files[:batch]))
        for at in range(batch, len(files) + batch, batch):
            next_ones = [
                pool.submit(pixels, path) for path in files[at : at + batch]
            ]  # while the network runs
            yield np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
            pictures = [one.result() for one in next_ones]


def named(scores: Any) -> Any:
    """The likeliest three classes and their probabilities, as a prediction has them."""
    import numpy as np

    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    best = (-scores).argsort(axis=1)[:, :3]
    return best, np.take_along_axis(shares / shares.sum(axis=1, keepdims=True), best, axis=1)


def floats(folder: Path) -> Any:
    """The pixels as the peers take them, float32 in [0, 1]; not timed."""
    import numpy as np

    return np.load(folder / "pixels.npy").astype(np.float32) / np.float32(255)


def consume(results: Iterable[Any]) -> None:
    """Take them all, keep none."""
    for _ in results:
        pass


def judged(scores: Any, labels: Any) -> Any:
    """Loss and accuracy, as an evaluation has to; returns the scores of the first eight images."""
    import numpy as np

    shifted = scores - scores.max(axis=1, keepdims=True)
    loss = (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean()
    assert np.isfinite(loss)
    assert 0 <= (scores.argmax(axis=1) == labels).mean() <= 1
    return scores[:8].tolist()


# ---- one process, and all of them -----------------------------------------------------------------------------------


def contestant(name: str, case: str, folder: Path, began_at: float) -> None:
    """In a process of its own: get ready, warm up, run once; print seconds and scores as JSON."""
    run: Run = globals()[name](case, folder)
    run(2 * BATCH[case])
    ready_at, used_s = time.time(), time.process_time()
    scores = run(None)
    run_s, cpu_s = time.time() - ready_at, time.process_time() - used_s
    print(json.dumps({"start_s": ready_at - began_at, "run_s": run_s, "cpu_s": cpu_s, "scores": scores}))


def started(python: Path | str, *arguments: str) -> str:
    """The last line that a fresh process of this script prints."""
    command = [str(python), __file__, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def peers_python(folder: Path) -> Path:
    """The peers' interpreter; their environment is made where there is none."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Making the peers' environment in {folder}: {', '.join(PACKAGES)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def measured(case: str, names: list[str], runs: int, peers: Path | None) -> dict[str, list[dict[str, Any]]]:
    """`runs` processes of each contestant, in turn."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        started(sys.executable, "--prepare", case, "--folder", folder)
        if peers and "onnxruntime" in names:
            where = "import sysconfig; print(sysconfig.get_path('purelib'))"
            packages = subprocess.run(
                [str(peers), "-c", where], check=True, capture_output=True, text=True
            ).stdout
            started(sys.executable, "--export", packages.strip(), "--folder", folder)
        for _ in range(runs):
            for name in names:
                python = sys.executable if name in IN_OUR_ENVIRONMENT else peers
                line = started(str(python), "--run", name, "--case", case, "--folder", folder)
                found[name].append(json.loads(line))
    return found


def show(case: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """A line a contestant: median, spread, images a second, and how many times ours is faster."""
    print(f"\n{case}: {NETS[case]}, {IMAGES[case]:,} images")
    heading = f"{'':<12} {'median s':>9} {'least – most s':>17} {'images/s':>9} {'ratio':>6}"
    print(f"{heading} {'cpu s':>7} {'ratio':>6} {'start s':>8}")
    ours = {field: middle(found["convscope"], field) for field in ("run_s", "cpu_s")}
    for name, runs in found.items():
        seconds = sorted(run["run_s"] for run in runs)
        median, cpu = middle(runs, "run_s"), middle(runs, "cpu_s")
        print(
            f"{name:<12} {median:>9.3f} {f'{seconds[0]:.3f} – {seconds[-1]:.3f}':>17} {IMAGES[case] / median:>9,.0f}"
            f" {median / ours['run_s']:>6.2f} {cpu:>7.2f} {cpu / ours['cpu_s']:>6.2f} {middle(runs, 'start_s'):>8.1f}"
        )
        check(name, runs[0]["scores"], found["convscope"][0]["scores"])


def middle(runs: list[dict[str, Any]], field: str) -> float:
    """The median over the runs."""
    return statistics.median(run[field] for run in runs)


def check(name: str, scores: list[list[float]] | None, ours: list[list[float]] | None) -> None:
    """Whoever computes something else has no place in the table."""
    if scores and ours:
        largest = max(
            abs(a - b)
            for one, other in zip(scores, ours, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        assert largest < 1e-3 * max(1.0, *(abs(score) for row in ours for score in row)), (name, largest)


def main() -> None:
    """Measure the cases that were asked for, or all."""
    began_at = time.time()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*NETS, []], help="default: all")
    parser.add_argument("--peers", type=Path, help="the peers' virtual environment; made where there is none")
    parser.add_argument("--runs", type=int, default=5, help="processes a contestant")
    for internal in ("--prepare", "--export", "--run", "--case", "--folder"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        return prepare(given.prepare, Path(given.folder))
    if given.export:
        return export(Path(given.folder), given.export)
    if given.run:
        return contestant(given.run, given.case, Path(given.folder), began_at)
    peers = peers_python(given.peers) if given.peers else None
    for case in given.cases or NETS:
        names = [name for name in CONTESTANTS[case] if peers or name in IN_OUR_ENVIRONMENT]
        show(case, measured(case, names, given.runs, peers))


if __name__ == "__main__":
    main()

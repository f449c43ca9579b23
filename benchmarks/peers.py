"""Our fast detectors beside anomalib's, on the same images, the same machine, in turns.

    python benchmarks/peers.py [--out FILE] [--smoke] [--device cuda] [--peer-python PYTHON]

anomalib lives in an environment of its own, outside this repository: `--peer-python` names its interpreter; without it
`uv` makes one in the user's cache folder, with the torch version that we run on. Two workers of this script, one an
environment, stay alive and are asked in turns for one repetition of each detector, so that only one computes at a time
and a machine that slows down slows all. The order is drawn anew for each turn, and each repetition follows an untimed
one of the same detector: the first after another process pays for what that one left in the caches, and for its
threads, which keep spinning for a while. A repetition goes from a host array (uint8 RGB, 256 x 256) to a host map and
score; the worker times it, without the time of asking. Both environments have the same torch, threads and input.

anomalib's models have its own defaults, with random weights, which changes no time: STFPM a ResNet-18. PatchCore and
FastFlow are measured with the Wide ResNet-50-2 behind the numbers that MixedTeacher's paper prints of them, and with
ResNet-18. `model` is the bare network, its map and score, in eval mode
and inference mode, fed with normalised images; `pipeline` is anomalib's whole module: resizing, normalising, model,
post-processing. PatchCore's memory bank has the size that its coreset has for MVTec's bottle: 209 images x 1,024
patches, of which 10 % (anomalib's default) or 1 % are kept. Where the processor multiplies bf16 faster
(`precision="auto"`), our fast path and anomalib's STFPM are measured under bf16 autocast, too. Each row says
what its detector is (method, recipe, backbone, PatchCore's share of patches) and has every repetition, the median, the
95 % quantile, and how many times more images a second than anomalib's STFPM model, from the ratios of paired
repetitions.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ANOMALIB = "2.7.0"
SIZE = 256
BATCHES = {1: 40, 16: 5}  # images, and repetitions of each detector
REFERENCE = ("anomalib", "stfpm", "model")
UV = (sys.executable, "-m", "uv")
BF16 = ", bf16"  # a variant's name ends so
# Of ours: method and recipe.
OURS = {
    f"{method} {recipe}": (method, recipe)
    for method, recipe in (("reduced_student", "paper"), ("reduced_student", "code"), ("stpm", "paper"))
}
PATCHES = 209 * 1024  # of MVTec's bottle
# Of PatchCore: network, channels of the layers 2 and 3, share of the patches that its coreset keeps.
PATCHCORES = {
    "patchcore 10 % wide_resnet50_2": ("wide_resnet50_2", 512 + 1024, 0.1),  # as anomalib has it
    "patchcore 10 % resnet18": ("resnet18", 128 + 256, 0.1),
    "patchcore 1 % resnet18": ("resnet18", 128 + 256, 0.01),
}
FASTFLOWS = {f"fastflow {backbone}": backbone for backbone in ("wide_resnet50_2", "resnet18")}
Key = tuple[str, str, str]  # environment, detector, variant


def main() -> None:
    """Measure all detectors of both environments in turns and write a row for each."""
    if "--worker" in sys.argv:
        options = _parser().parse_args()
        found = anomalib_detectors if options.worker == "anomalib" else adlib_detectors
        serve(with_bf16(found(options)) if options.bf16 else found(options), options.device)
        return
    from common import parse_options

    from adlib import speed
    from adlib.device import resolve_precision

    options = parse_options(_parser(), "peers")
    options.bf16 = resolve_precision("auto", options.device) == "bf16"
    peer = options.peer_python or peer_environment()
    workers = {"adlib": Worker(sys.executable, "adlib", options), "anomalib": Worker(peer, "anomalib", options)}
    detectors: list[Key] = [(name, *key) for name, worker in workers.items() for key in worker.detectors]
    rows = []
    for batch, repeats in ({1: 5} if options.smoke else BATCHES).items():
        seconds: dict[Key, list[float]] = {key: [] for key in detectors}
        order = random.Random(0)
        for _ in range(repeats):
            for key in order.sample(detectors, len(detectors)):
                seconds[key].append(workers[key[0]].ask(key[1:], batch))
        timings = {key: speed.Timing(tuple(values)) for key, values in seconds.items()}
        for key, timing in timings.items():
            row = {
                "environment": key[0],
                "detector": key[1],
                **described(*key[:2]),
                "variant": key[2],
                "version": workers[key[0]].version,
                "size": SIZE,
                "batch": batch,
                "repeats": repeats,
                **speed.figures(timing, batch, timings[REFERENCE]),
                "each_ms": timing.each_ms,
                **speed.conditions(options.device, "bf16" if key[2].endswith(BF16) else "fp32"),
            }
            row |= {"threads": workers[key[0]].threads, "torch": workers[key[0]].torch}
            rows.append(row)
            print(*key, f"batch {batch}: {row['p50_ms']:.1f} ms, {row['speedup']:.2f} x {REFERENCE[1]}", flush=True)
        speed.write(rows, options.out)
    for worker in workers.values():
        worker.close()


def described(environment: str, detector: str) -> dict[str, str | float]:
    """Say what a detector is: method, recipe (of ours), backbone, and coreset, the share of patches (of PatchCore)."""
    if environment == "adlib":
        from adlib.methods import resolve

        method, recipe = OURS[detector]
        return {"method": method, "recipe": recipe, "backbone": str(resolve(method, recipe).backbone), "coreset": ""}
    if detector in PATCHCORES:
        backbone, _, share = PATCHCORES[detector]
        return {"method": "patchcore", "recipe": "", "backbone": backbone, "coreset": share}
    return {"method": detector.split()[0], "recipe": "", "backbone": FASTFLOWS.get(detector, "resnet18"), "coreset": ""}


class Worker:
    """A process of one environment that holds its detectors and runs them one at a time when asked."""

    def __init__(self, python: str | Path, name: str, options: argparse.Namespace) -> None:
        command = [str(python), __file__, "--worker", name, "--device", options.device]
        command += [f"--{flag}" for flag in ("compile", "bf16") if getattr(options, flag)]
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | threads
        )
        hello = self._answer()
        self.detectors: list[tuple[str, str]] = [(a, b) for a, b in hello["detectors"]]
        self.version, self.torch, self.threads = hello["version"], hello["torch"], hello["threads"]

    def ask(self, detector: tuple[str, ...], batch: int) -> float:
        """Run a detector twice on a batch and return the seconds that the second took."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([*detector, batch]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the worker {self.process.args} ended with code {self.process.wait()}; see its errors above"
            )
        return json.loads(line)


def with_bf16(detectors: dict[tuple[str, str], Callable]) -> dict[tuple[str, str], Callable]:
    """Add our fast path and the reference, both under bf16 autocast."""

    def autocast(run: Callable) -> Callable:
        def call(pixels: torch.Tensor) -> list[torch.Tensor]:
            with torch.autocast(pixels.device.type, torch.bfloat16):
                return [found.float() for found in run(pixels)]

        return call

    chosen = {key: run for key, run in detectors.items() if key[1] == "optimised" or key == REFERENCE[1:]}
    return detectors | {(name, variant + BF16): autocast(run) for (name, variant), run in chosen.items()}


def serve(detectors: dict[tuple[str, str], Callable], device: str) -> None:
    """Say what there is to run, then run what each line of the input asks for and answer its seconds."""
    # What libraries print must not end up between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    version = importlib.metadata.version("anomalib" if "anomalib" in sys.modules else "adlib")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # fp32 is fp32 on both sides
    hello = {"detectors": list(detectors), "version": version, "torch": torch.__version__}
    print(json.dumps(hello | {"threads": torch.get_num_threads()}), file=answers)
    generator = np.random.default_rng(0)
    images = {batch: generator.integers(0, 256, (batch, 3, SIZE, SIZE), dtype=np.uint8) for batch in BATCHES}
    for line in sys.stdin:
        name, variant, batch = json.loads(line)
        run, pixels = detectors[name, variant], images[batch]
        for _ in range(2):
            start = time.perf_counter()
            with torch.inference_mode():
                maps, scores = run(torch.from_numpy(pixels).to(device))
                maps.cpu().numpy(), scores.cpu().numpy()  # waits for the device
            seconds = time.perf_counter() - start
        print(json.dumps(seconds), file=answers)


def adlib_detectors(options: argparse.Namespace) -> dict[tuple[str, str], Callable]:
    """Return our detectors: plain (eager, as built), optimised and, where asked for, compiled."""
    from adlib.images import normalise
    from adlib.inference import optimised
    from adlib.methods import Method, build

    def plain(method: Method) -> Callable:
        def run(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = method.anomaly_map(normalise(pixels.float() / 255))
            return maps, method.score(maps)

        return run

    found: dict[tuple[str, str], Callable] = {}
    for detector, (name, recipe) in OURS.items():
        method = build(name, recipe, teacher="random").eval().to(options.device)
        found[detector, "plain"] = plain(method)
        found[detector, "optimised"] = optimised(method)
        if options.compile:
            found[detector, "compiled"] = optimised(method, compile=True)
    return found


def anomalib_detectors(options: argparse.Namespace) -> dict[tuple[str, str], Callable]:
    """Return anomalib's detectors: the bare model, and for STFPM the whole pipeline."""
    import timm

    device = options.device
    create = timm.create_model
    # STFPM's teacher asks for downloaded weights whatever one passes; random ones are as fast.
    timm.create_model = lambda *words, **options: create(*words, **(options | {"pretrained": False}))
    from anomalib.models import Stfpm
    from anomalib.models.image.fastflow.torch_model import FastflowModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    mean = torch.tensor((0.485, 0.456, 0.406), device=device).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225), device=device).view(3, 1, 1)

    def results(model: torch.nn.Module, normalised: bool = True) -> Callable:
        model.eval().to(device)

        def run(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            images = pixels.float() / 255
            found = model((images - mean) / std if normalised else images)
            return found.anomaly_map, found.pred_score

        return run

    stfpm = Stfpm()
    found = {("stfpm", "model"): results(stfpm.model), ("stfpm", "pipeline"): results(stfpm, normalised=False)}
    for name, (backbone, channels, share) in PATCHCORES.items():
        model = PatchcoreModel(("layer2", "layer3"), backbone, pre_trained=False)
        model.memory_bank = torch.rand(round(share * PATCHES), channels)
        found[name, "model"] = results(model)
    for name, backbone in FASTFLOWS.items():
        found[name, "model"] = results(FastflowModel((SIZE, SIZE), backbone, pre_trained=False))
    return found


def peer_environment() -> Path:
    """Return the interpreter of an environment with anomalib, made by uv in the user's cache folder if need be."""
    version = torch.__version__.split("+")[0]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / f"adlib/anomalib-{ANOMALIB}-torch-{version}"
    python, installed = home / "bin/python", home / "installed"  # the latter after all went well
    if not installed.exists():
        if importlib.util.find_spec("uv") is None:
            raise SystemExit(
                f"uv makes the environment of anomalib {ANOMALIB}: install it here (pip install uv), or name the "
                "interpreter of such an environment (--peer-python)"
            )
        subprocess.run([*UV, "venv", "--clear", "--python", sys.executable, str(home)], check=True)
        wanted = [f"anomalib=={ANOMALIB}", f"torch=={version}"]
        subprocess.run([*UV, "pip", "install", "--python", str(python), *wanted], check=True)
        installed.touch()
    return python


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="five repetitions of single images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile as well: minutes more")
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with anomalib")
    parser.add_argument("--bf16", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=("adlib", "anomalib"), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()

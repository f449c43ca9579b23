"""Knowledge-distillation visual anomaly detection: methods of four papers under one protocol."""

from adlib import corrupt, datasets, images, metrics, plots, results
from adlib.checkpoint import load, save
from adlib.detector import Detector
from adlib.export import export_onnx
from adlib.inference import optimised
from adlib.methods import METHODS, build
from adlib.predict import predict
from adlib.preparation import prepare
from adlib.train import fit

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "Detector",
    "build",
    "corrupt",
    "datasets",
    "export_onnx",
    "fit",
    "images",
    "load",
    "metrics",
    "optimised",
    "plots",
    "predict",
    "prepare",
    "results",
    "save",
]

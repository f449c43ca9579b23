"""The GPU lease with pretended devices and killed holders; devices, precisions; memory kept, and as it runs out."""

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import adlib
from adlib import device
from adlib.device import resolve_device, resolve_precision

NAMES = ("GPU-a", "GPU-b")


@pytest.fixture(autouse=True)
def free_again():
    yield
    for file in device._held.values():
        file.close()
    device._held.clear()


def _take_and_sleep(folder, answer):
    answer.put((os.getpid(), device.lease_gpu(NAMES, folder, poll=0.02)))
    time.sleep(600)


def test_each_process_takes_another_gpu_and_a_killed_one_gives_its_own_back(tmp_path):
    # Forked: the children touch no GPU and need not import torch again.
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    processes = [context.Process(target=_take_and_sleep, args=(tmp_path, answer)) for _ in range(3)]
    try:
        for process in processes[:2]:
            process.start()
        taken = dict(answer.get(timeout=60) for _ in processes[:2])
        assert sorted(taken.values()) == ["cuda:0", "cuda:1"]
        processes[2].start()
        time.sleep(0.2)
        assert answer.empty()  # the third waits
        os.kill(processes[1].pid, signal.SIGKILL)
        assert answer.get(timeout=60) == (processes[2].pid, taken[processes[1].pid])
    finally:
        for process in processes:
            if process.pid:
                process.kill()
                process.join()


def test_a_process_takes_one_gpu_once(tmp_path):
    assert device.lease_gpu(NAMES, tmp_path) == "cuda:0"
    assert device.lease_gpu(NAMES, tmp_path) == "cuda:0"
    assert [file.name for file in tmp_path.iterdir()] == ["adlib-gpu-GPU-a.lock"]


def test_one_visible_device_is_the_schedulers_choice(tmp_path):
    assert device.lease_gpu(["GPU-a"], tmp_path) == device.lease_gpu(["GPU-a"], tmp_path) == "cuda"
    assert not list(tmp_path.iterdir())


def test_auto_asks_for_a_lease_and_a_named_device_does_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("adlib.device.lease_gpu", lambda: "cuda:3")
    assert resolve_device("auto") == "cuda:3"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match=r"'cuda:2' was asked for, but torch sees 2 CUDA device\(s\)"):
        resolve_device("cuda:2")


@pytest.fixture
def no_gpu(monkeypatch):
    """Let torch see no GPU, and no variable say that there was one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in device.ASSIGNED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", device.ASSIGNED)
def test_a_gpu_that_was_given_and_is_not_seen_is_an_error(name, no_gpu, monkeypatch):
    assert resolve_device("auto") == "cpu"
    monkeypatch.setenv(name, "3")
    with pytest.raises(ValueError, match=rf"{name}=3 says .* given a GPU, but torch \d.* sees none on .*device='cpu'"):
        resolve_device("auto")
    assert resolve_device("cpu") == "cpu"
    for hidden in device.HIDDEN:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize("name", ["mps", "meta", "gpu"])
def test_a_device_that_methods_are_not_trained_on_is_an_error(name):
    with pytest.raises(ValueError, match=f"unknown device '{name}'; expected 'auto', 'cpu', 'cuda'"):
        resolve_device(name)


def test_memory_that_runs_out_is_named_with_what_to_do():
    for raises in (
        lambda: torch.empty(1 << 60, dtype=torch.uint8),
        lambda: bytearray(1 << 62),
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")),
        lambda: (_ for _ in ()).throw(torch.AcceleratorError("CUDA error: out of memory\nCompile with ...")),
        lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")),
    ):
        says = "out of memory while stpm trained: set a smaller `batch`"
        with pytest.raises(MemoryError, match=says), device.memory_explained("stpm trained"):
            raises()


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), device.memory_explained("stpm trained"):
        raise RuntimeError("shapes do not fit")


def test_features_take_a_quarter_of_a_gpu_at_most(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 800))
    assert [device.affordable(budget, "cuda:0") for budget in (100, 300)] == [100, 200]
    assert device.affordable(300, "cpu") == 300


def test_a_method_too_large_for_the_machine_says_so(data_root):
    large = {"items": [1 << 50, 50]}
    with pytest.raises(MemoryError, match="out of memory while mem_mkd was built"):
        adlib.prepare(
            "mem_mkd", "mvtec", "bottle", teacher="random", scale="small", overrides=large, data_root=data_root
        )


def test_device_and_precision_are_checked(monkeypatch):
    for capability, chosen in (((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert resolve_precision("auto", "cuda:0") == chosen
    for amx, avx, chosen in ((True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        assert resolve_precision("auto", "cpu") == chosen
    with pytest.raises(ValueError, match="unknown precision 'fp16'; did you mean 'bf16'.* Known: auto, bf16, fp32"):
        resolve_precision("fp16", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            resolve_device("cuda")


PAGES = """
import resource, torch
from adlib.device import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(1 << 26, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(6)))
keep_memory()
print(min(faults() for _ in range(12)))  # the heap grows in the first rounds
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a property of glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step():
    clean = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    printed = subprocess.check_output([sys.executable, "-c", PAGES], env=clean, cwd=Path(__file__).parents[1])
    before, after = map(int, printed.split())
    assert 10 * after < before  # 64 MiB: 16384 pages of 4 KiB, or 32 of 2 MiB

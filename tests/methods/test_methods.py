"""What every method promises, for every recipe: tiny trainings, once per recipe, looked at from several sides."""

import dataclasses
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import adlib
from adlib import train
from adlib.backbones import Provenance
from adlib.corrupt import Corruption
from adlib.methods import METHODS, build, resolve
from adlib.textures import procedural_textures
from tests.conftest import tiny_images

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = [(name, recipe) for name, method in METHODS.items() for recipe in method.RECIPES]
# Of the build sheets, at full size. Nothing else may train, and nothing may be counted that does not.
PARAMETERS = {
    ("stpm", "paper"): 2_782_784,
    ("stpm", "code"): 2_782_784,
    ("destseg", "paper"): 24_665_024 + 7_706_369,
    ("destseg", "code"): 32_371_393,
    ("memory_destseg", "paper"): 24_676_744 + 7_731_457 + 22_400,
    ("memory_destseg", "code"): 32_430_601,
    ("reduced_student", "paper"): 1_236_928,
    ("reduced_student", "code"): 317_888,
    ("mixed_teacher", "paper"): 317_888 + 321_536,
    ("mixed_teacher", "code"): 317_888 + 3_595_388,
    ("rd", "paper"): 83_802_624,
    ("rd", "code"): 83_802_624,
    ("memkd", "paper"): 96_547_328,
    ("rd_memae", "paper"): 96_547_328 - 50 * (2048 + 1024 + 512),
    ("mkd", "paper"): 8_543_296,
    ("mem_mkd", "paper"): 9_439_296,
    ("dskd", "paper"): 2_782_784 + 11_680_000 + 3_703_168,
}
TINY = {
    "backbone": "resnet18",
    "student": "resnet18",
    "rotation": "none",
    "epochs": 6,
    "student_steps": 3,
    "segmentation_steps": 3,
    "batch": 4,
    "exemplars": 4,
}
# Where so few steps do not do: the product of two maps, and a segmentation that needs hundreds of steps.
DEST = {"map": "dest", "student_steps": 8}
PLANTED = {("mixed_teacher", "paper"): {"epochs": 20}} | {
    (name, recipe): DEST for name in ("destseg", "memory_destseg") for recipe in ("paper", "code")
}
BF16 = 0.03  # largest difference to fp32, in parts of the range of the maps; measured: at most 0.016


def tiny(name, recipe, **more):
    fields = {field.name for field in dataclasses.fields(METHODS[name].Config)}
    return build(name, recipe, teacher="random", seed=1, **({k: v for k, v in TINY.items() if k in fields} | more))


@lru_cache
def corruption():
    return Corruption(procedural_textures(size=64))


def fit(method, images=8):
    return adlib.fit(method, tiny_images(images), device="cpu", corruption=corruption())


def maps(method, precision="fp32", **options):
    return adlib.predict(method, tiny_images(4, 2, seed=5), device="cpu", precision=precision, **options)


def copied(method):
    return {k: v.detach().clone() for k, v in method.state_dict().items()}


@lru_cache(maxsize=1)
def trained(name, recipe):
    """Train once; also return the losses and the state before every stage and at the end."""
    method, states = tiny(name, recipe), []
    stages = method.stages()
    seen = set()

    def watched(number, loss):
        def wrapper(batch):
            if number not in seen:
                seen.add(number)
                states.append(copied(method))
            return loss(batch)

        return wrapper

    method.stages = lambda: [dataclasses.replace(s, loss=watched(i, s.loss)) for i, s in enumerate(stages)]
    history = fit(method)
    del method.stages
    states.append(copied(method))
    return method, history, stages, states


def test_every_recipe_is_counted():
    assert set(PARAMETERS) == set(CASES)


@pytest.mark.parametrize(("case", "count"), PARAMETERS.items(), ids=map("-".join, PARAMETERS))
def test_parameters_are_the_sheets(case, count):
    with torch.device("meta"):
        method = METHODS[case[0]](resolve(*case), Provenance("random", "", ""))
        optimised = [p for stage in method.stages() for group in stage.optimiser.param_groups for p in group["params"]]
    trainable = {id(p): p.numel() for p in method.parameters() if p.requires_grad}
    assert sum(trainable.values()) == count
    assert {id(p) for p in optimised} == set(trainable)


def test_reverse_distillation_of_resnet18_is_the_sheets():
    with torch.device("meta"):
        method = METHODS["rd"](resolve("rd", backbone="resnet18"), Provenance("random", "", ""))
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 15_383_168


class Suite:
    """What each recipe has to pass; one class, so that its tests follow each other and share its training."""

    def test_losses_fall(self, name, recipe):
        _, history, stages, _ = trained(name, recipe)
        for stage in stages:
            epochs = history.losses[history.losses.stage == stage.name].groupby("epoch").loss.mean()
            assert epochs.iloc[-1] < epochs.iloc[0], stage.name

    def test_a_stage_changes_what_it_trains_and_nothing_else(self, name, recipe):
        method, _, stages, states = trained(name, recipe)
        tensors = method.state_dict(keep_vars=True)
        moved = set()
        for stage, before, after in zip(stages, states[:-1], states[1:], strict=True):
            own = {id(t) for module in stage.trains for t in module.state_dict(keep_vars=True).values()}
            own |= {id(p) for group in stage.optimiser.param_groups for p in group["params"]}
            changed = {k for k in tensors if not torch.equal(before[k], after[k])}
            assert changed <= {k for k, t in tensors.items() if id(t) in own}, stage.name
            moved |= changed
        assert not any(k.startswith("teacher") for k in moved)

    def test_everything_that_should_train_has_a_gradient(self, name, recipe):
        method, *_ = trained(name, recipe)
        for key, parameter in method.named_parameters():
            assert parameter.requires_grad != key.startswith("teacher"), key
            assert (parameter.grad is not None) == parameter.requires_grad, key
            assert parameter.grad is None or parameter.grad.abs().sum() > 0, key

    def test_bf16_agrees_with_fp32(self, name, recipe):
        method, *_ = trained(name, recipe)
        exact, rough = maps(method).maps, maps(method, "bf16").maps
        assert rough.dtype == np.float32
        assert 0 < np.abs(exact - rough).max() <= BF16 * (exact.max() - exact.min())

    def test_one_image_at_a_time_gives_the_same_maps(self, name, recipe):
        method, *_ = trained(name, recipe)
        together, alone = maps(method), maps(method, batch=1)
        scale = np.abs(together.maps).max()
        np.testing.assert_allclose(alone.maps / scale, together.maps / scale, atol=1e-4)

    def test_save_and_load_give_bit_equal_maps(self, name, recipe, tmp_path):
        method, *_ = trained(name, recipe)
        loaded = adlib.load(adlib.save(method, tmp_path / "method.safetensors"))
        assert loaded.config == method.config
        assert loaded.provenance == method.provenance
        before, after = maps(method), maps(loaded)
        np.testing.assert_array_equal(before.maps, after.maps)
        np.testing.assert_array_equal(before.scores, after.scores)

    def test_shapes(self, name, recipe):
        method, *_ = trained(name, recipe)
        for size in (256, 96):
            with torch.inference_mode():
                found = method.anomaly_map(torch.randn(1, 3, size, size))
            assert found.shape == (1, size, size)
            assert method.score(found).shape == (1,)

    def test_the_same_seed_gives_equal_maps(self, name, recipe):
        short = {"epochs": 1, "student_steps": 1, "segmentation_steps": 1}
        fields = dataclasses.asdict(METHODS[name].Config())
        found = []
        for _ in range(2):
            method = tiny(name, recipe, **{k: v for k, v in short.items() if k in fields})
            fit(method, images=5)
            found.append(maps(method).maps)
        np.testing.assert_array_equal(*found)

    def test_a_planted_defect_scores_above_normal(self, name, recipe):
        if (name, recipe) in PLANTED:
            method = tiny(name, recipe, **PLANTED[name, recipe])
            fit(method)
        else:
            method, *_ = trained(name, recipe)
        found = maps(method)
        assert found.scores[2:].min() > found.scores[:2].max()

    def test_an_unknown_choice_is_refused(self, name, recipe):
        choices = [k for k, v in dataclasses.asdict(resolve(name, recipe)).items() if isinstance(v, str)]
        for field in set(choices) - {"rotation", "preprocess"}:
            with pytest.raises(ValueError, match="nonsense"):
                tiny(name, recipe, **{field: "nonsense"})


@pytest.mark.parametrize(("name", "recipe"), CASES, ids=map("-".join, CASES), scope="class")
class TestMethod(Suite):
    """All methods that are registered."""


WAITS = {  # what needs a value, or a size that depends on values, before it can go on: a GPU's queue has to empty first
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_dim",
    "_unique2",
}


class Waits(TorchDispatchMode):
    """Collects the operations that would make a GPU wait."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITS or masked:
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_no_step_of_a_training_waits_for_the_device_or_makes_a_tensor_elsewhere(case, monkeypatch):
    waits, advance = Waits(), train.Training.advance

    def watched(*arguments):
        with waits, torch.device("meta"):  # where a tensor is that was made without the name of its device
            return advance(*arguments)

    monkeypatch.setattr(train.Training, "advance", watched)
    fit(tiny(*case, epochs=1) if "epochs" in vars(METHODS[case[0]].Config()) else tiny(*case))
    assert not waits.found


def test_a_tensor_made_elsewhere_is_seen():
    with torch.device("meta"), pytest.raises(RuntimeError, match="device"):
        torch.ones(2, device="cpu") + torch.zeros(2)


def test_a_step_that_waits_is_seen():
    with Waits() as waits:
        torch.ones(2).sum().item()
        torch.ones(2)[torch.tensor([True, False])]
    assert waits.found == {"_local_scalar_dense", "index"}


def test_numbers_of_a_field_may_be_written_as_json_writes_them():
    assert resolve("rd", betas=[0, 0.999]).betas == (0.0, 0.999)
    assert resolve("stpm", lr=1).lr == 1.0
    with pytest.raises(ValueError, match=r"field 'betas' of rd takes a float such as 0.5, got '0'"):
        resolve("rd", betas=["0", 0.999])


@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        ("rd_memae", "lambda_entropy", -1.0),
        ("dskd", "cosine_weight", -1.0),
        ("memory_destseg", "memory_weight", -1.0),
        ("destseg", "focal_gamma", float("nan")),
        ("destseg", "student_steps", 0),
        ("stpm", "loss_factor", -1.0),
    ],
)
def test_a_number_that_would_turn_a_loss_round_is_refused_before_any_run(method, field, value):
    with pytest.raises(ValueError, match=f"{field} must be at least [01], got {value}"):
        resolve(method, **{field: value})
    assert resolve("destseg", product_sign=-1).product_sign == -1


def test_to_hold_out_all_images_is_refused_before_any_run():
    with pytest.raises(ValueError, match=r"held out, from 0 to below 1, got 1\.5"):
        resolve("stpm", validation=1.5)


def test_moments_outside_of_a_share_are_refused():
    with pytest.raises(ValueError, match="two numbers from 0 to below 1"):
        resolve("rd", betas=[0.5, 1.0])


def test_a_method_says_of_a_topic_once_what_it_does():
    for name, method in METHODS.items():
        topics = [deviation.topic for deviation in method.DEVIATIONS]
        assert len(topics) == len(set(topics)), name


# What papers state in their implementation details, of the recipe `paper`.
STATED = {
    "rd": {"cosine": "pixel", "epochs": 200, "batch": 16, "lr": 0.005, "betas": (0.5, 0.999), "sigma": 4.0},
    "memkd": {"cosine": "flat", "epochs": 100, "betas": (0.5, 0.999), "items": (50, 50, 50), "exemplars": 16}
    | {"lambda_nm": 0.1, "lambda_orth": 0.1},
    "mkd": {"cosine": "flat", "epochs": 100, "betas": (0.5, 0.999), "student": "resnet50"},
}


@pytest.mark.parametrize("name", STATED)
def test_what_a_paper_states_is_the_default(name):
    found = dataclasses.asdict(METHODS[name].Config())
    assert {field: found[field] for field in STATED[name]} == STATED[name]

"""Which images a step sees: from the seed alone, held out as it says, another order in each stage."""

import torch

from adlib.methods.base import Stage
from adlib.sampling import Plan, derive


def stage(**fields):
    layer = torch.nn.Linear(1, 1)
    sgd = torch.optim.SGD(layer.parameters(), 0.1)
    return Stage("stage", (layer,), sgd, lambda batch: {}, batch=4, epochs=1, **fields)


def test_what_is_held_out_follows_from_the_seed_and_is_rounded_up():
    plans = [Plan(stage(validation=0.2), 0, 21, seed) for seed in range(4)]
    assert [len(plan.held_out) for plan in plans] == [5] * 4  # of 4.2
    assert len({tuple(plan.held_out.tolist()) for plan in plans}) == 4


def test_two_stages_see_the_images_in_two_orders():
    orders = [Plan(stage(), number, 12, 0).order(0).tolist() for number in (0, 1)]
    assert orders[0] != orders[1]


def test_derived_seeds_do_not_collide():
    seeds = {derive(s, a, b) for s in range(4) for a in range(-1, 6) for b in range(-1, 6)}
    assert len(seeds) == 4 * 7 * 7

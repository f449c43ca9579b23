import pytest
import torch

from adlib.backbones import Provenance
from adlib.methods import METHODS, build, resolve
from adlib.methods.base import Batch

SMALL = {"backbone": "resnet18", "student": "resnet18", "batch": 4}


def make(name, **overrides):
    extra = {"exemplars": 3, "items": (6, 5)} if name == "mem_mkd" else {}
    return build(name, teacher="random", **(SMALL | extra | overrides))


def terms(method):
    generator = torch.Generator().manual_seed(0)
    image, exemplars = torch.randn(5, 3, 64, 64, generator=generator).split([2, 3])
    return method.train().loss(Batch(image, exemplars=exemplars))


def test_parameters():
    for name in ("mkd", "mem_mkd"):
        with torch.device("meta"):
            method = METHODS[name](resolve(name), Provenance("random", "", ""))
        assert "layer4" not in method.student
        assert "layer4" not in method.teacher.features
    assert sum(p.numel() for p in method.student.parameters()) == 9_362_496
    assert sum(p.numel() for p in method.memories.parameters()) == 76_800


def test_each_memory_joins_the_next_layer():
    method = make("mem_mkd").eval()
    images = torch.randn(1, 3, 64, 64)
    network, memories = method.student, method.memories
    with torch.no_grad():
        first = network["layer1"](network["maxpool"](network["act1"](network["bn1"](network["conv1"](images)))))
        second = network["layer2"](torch.cat([first, memories["layer1"](first)], dim=1))
        third = network["layer3"](torch.cat([second, memories["layer2"](second)], dim=1))
        found = method.student_maps(images, [])
    assert all(torch.equal(a, b) for a, b in zip(found, (first, second, third), strict=True))


def test_memories_memorise_the_teachers_map_of_their_layer():
    method = make("mem_mkd")
    targets = [torch.zeros(1), torch.ones(1), torch.ones(1)]
    assert method.normality(targets) == {"layer1": targets[0], "layer2": targets[1]}
    found = terms(method)
    assert list(found) == ["level1", "level2", "level3", "nm", "orth"]
    sum(found.values()).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize("items", [(0, 0), (6, 0), (0, 5)])
def test_without_items_a_memory_leaves_no_trace(items):
    method = make("mem_mkd", items=items)
    assert [len(m.keys) for m in method.memories.values()] == [n for n in items if n]
    found = terms(method)
    if not any(items):
        plain = terms(make("mkd"))
        assert found.keys() == plain.keys()
        assert all(torch.equal(found[k], plain[k]) for k in plain)
        assert method.stages()[0].exemplars == 0


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="choose a student of the teacher's widths"):
        make("mkd", student="resnet50")
    with pytest.raises(ValueError, match="takes ResNets"):
        make("mkd", student="efficientnet_b0")
    with pytest.raises(ValueError, match="items must be 2 numbers"):
        make("mem_mkd", items=(50, 50, 50))

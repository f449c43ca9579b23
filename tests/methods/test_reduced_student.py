import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from adlib.methods import build
from adlib.methods.reduced_student import added, level_losses, pixel_terms, reduced
from tests.methods.conftest import IMAGES, shapes


def reduced_student(recipe="paper", **overrides):
    return build("reduced_student", recipe, teacher="random", **overrides)


@torch.no_grad()
def test_student_and_pooled_teacher_have_the_sheets_shapes():
    images = torch.randn(1, 3, 256, 256)
    paper = reduced_student()
    expected = [(64, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8)]
    assert shapes(paper.targets(images)) == shapes(paper.student(images)) == expected
    code = reduced_student("code")
    assert shapes(code.targets(images)) == shapes(code.student(images)) == expected[1:3]
    early = reduced_student(stem="convolution", levels=(0, 1))
    assert shapes(early.targets(images)) == shapes(early.student(images)) == [(64, 128, 128), (64, 32, 32)]


@torch.no_grad()
def test_targets_are_the_teachers_maps_averaged_over_two_by_two():
    method = reduced_student()
    maps = method.teacher(IMAGES)
    stem, first, *_ = method.targets(IMAGES)
    torch.testing.assert_close(stem, F.max_pool2d(maps[0], 3, 2, 1))
    torch.testing.assert_close(first, maps[1].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5)))


def test_pixel_term_is_half_the_squared_distance_of_unit_features():
    a, b = torch.randn(2, 1, 5, 2, 2)
    expected = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            u, v = (x[0, :, i, j].double().numpy() for x in (a, b))
            expected[i, j] = 0.5 * ((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2).sum()
    np.testing.assert_allclose(pixel_terms([a], [b], True)[0][0], expected, atol=1e-6)
    np.testing.assert_allclose(pixel_terms([a], [b], False)[0][0], 0.5 * np.sqrt(2 * expected), atol=1e-6)


def test_losses_are_reduced_as_the_recipes_say():
    distances = [torch.rand(3, 4, 4), torch.rand(3, 2, 2)]
    paper = level_losses(distances, ["a", "b"], reduced_student().config)
    code = level_losses(distances, ["a", "b"], reduced_student("code").config)
    for name, d in zip("ab", distances, strict=True):
        assert float(paper[name]) == pytest.approx(float(d.mean()))
        assert float(code[name]) == pytest.approx(float(d.sum()) / d[0].numel() / 2)


def test_maps_are_added_and_divided_by_their_area_in_the_code():
    levels = [torch.ones(1, 4, 4), 3 * torch.ones(1, 2, 2)]
    assert torch.equal(added(levels, (8, 8), False), 4 * torch.ones(1, 8, 8))
    assert torch.equal(added(levels, (8, 8), True), (1 / 16 + 3 / 4) * torch.ones(1, 8, 8))


def test_scores_are_sum_and_maximum():
    maps = torch.rand(3, 6, 5)
    np.testing.assert_allclose(reduced(maps, "sum"), maps.numpy().reshape(3, -1).sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(reduced(maps, "max"), maps.numpy().reshape(3, -1).max(axis=1))


@torch.no_grad()
def test_the_code_blurs_rows_only_and_the_mended_blur_is_two_dimensional():
    mended = reduced_student("code", rows_only=False).eval()
    faithful = reduced_student("code").eval()
    faithful.load_state_dict(mended.state_dict())
    plain = reduced_student("code", sigma=0.0).eval()
    plain.load_state_dict(mended.state_dict())
    raw, rows, both = (method.anomaly_map(IMAGES) for method in (plain, faithful, mended))
    np.testing.assert_allclose(rows, gaussian_filter1d(raw.double().numpy(), 4, axis=2), rtol=1e-5)
    np.testing.assert_allclose(both[0], gaussian_filter(raw[0].double().numpy(), 4), rtol=1e-5)


def test_the_code_trains_a_reduced_student_alone_for_a_tenth_of_the_epochs():
    assert build("reduced_student", "code", teacher="random").stages()[0].epochs == 10


@torch.no_grad()
def test_the_stem_of_a_reduced_student_is_rectified():
    method = reduced_student(stem="convolution", levels=(0, 1)).eval()
    convolution, norm, _ = method.student.convolution
    torch.testing.assert_close(method.student(IMAGES)[0], norm(convolution(IMAGES)).clamp(min=0))

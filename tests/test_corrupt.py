import numpy as np
import pytest
import torch
from scipy import ndimage

from adlib import corrupt
from adlib.corrupt import GREY, Corruption, perlin_noise, random_rotation, rotate, rotation_of
from adlib.textures import procedural_textures


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_masks_have_the_sheets_distribution():
    """Sheet, section 2: mean area 4.9 %, median 4.6 %, 90th percentile 7.3 %, empty 4.5 %."""
    g = generator()
    areas = torch.cat([(perlin_noise(100, 256, g) > 0.5).float().mean((1, 2)) for _ in range(20)])
    assert len(areas) == 2000
    assert 0.045 < areas.mean() < 0.053
    assert 0.043 < areas.median() < 0.050
    assert 0.068 < areas.quantile(0.9) < 0.080
    assert 0.03 < (areas == 0).float().mean() < 0.06


def reference_noise(size, cells, degrees, rng):
    """The recipe one sample at a time in float64: lattice, quintic fade, then a rotation by resampling."""
    angle = 2 * np.pi * rng.random((cells[0] + 1, cells[1] + 1))
    gradient = np.stack([np.cos(angle), np.sin(angle)], -1)
    y, x = np.meshgrid(np.arange(size) * cells[0] / size, np.arange(size) * cells[1] / size, indexing="ij")
    row, column = y.astype(int), x.astype(int)
    fy, fx = y - row, x - column

    def corner(a, b):
        return (gradient[row + a, column + b] * np.stack([fy - a, fx - b], -1)).sum(-1)

    def fade(t):
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    top = corner(0, 0) + fade(fx) * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fade(fx) * (corner(1, 1) - corner(1, 0))
    field = np.sqrt(2) * (top + fade(fy) * (bottom - top))
    return ndimage.rotate(field, degrees, reshape=False, order=1)


@pytest.mark.parametrize("exponents", [(0, 0), (0, 2), (3, 1), (5, 5)])
def test_noise_is_distributed_as_the_recipe_computed_one_by_one(exponents):
    count, size, rng = 600, 64, np.random.default_rng(0)
    cells = [2**e for e in exponents]
    expected = np.array([reference_noise(size, cells, rng.uniform(-90, 90), rng) > 0.5 for _ in range(count)])
    fixed = tuple(torch.full((count,), e) for e in exponents)
    found = (perlin_noise(count, size, generator(1), fixed) > 0.5).numpy()
    # Compared within four standard errors of the two simulations.
    for statistic in (lambda m: m.mean((1, 2)), lambda m: ~m.any((1, 2))):
        a, b = statistic(expected).astype(float), statistic(found).astype(float)
        assert abs(a.mean() - b.mean()) < 4 * np.hypot(a.std(), b.std()) / np.sqrt(count) + 1e-9


def test_noise_repeats_with_its_generator_and_is_zero_in_the_turned_off_corners():
    a, b = perlin_noise(64, 64, generator(3)), perlin_noise(64, 64, generator(3))
    assert torch.equal(a, b)
    assert not torch.equal(a, perlin_noise(64, 64, generator(4)))
    assert a.abs().max() <= 1.0 + 1e-5
    assert (a[:, 0, 0] == 0).float().mean() > 0.5  # a corner leaves the canvas at most angles


def test_lattice_points_of_unturned_noise_are_zero(monkeypatch):
    monkeypatch.setattr("adlib.corrupt.MAX_ANGLE", 0.0)
    three = torch.tensor([3])
    noise = perlin_noise(1, 64, generator(), (three, three))[0]
    assert noise[::8, ::8].abs().max() < 1e-4
    assert noise.abs().max() > 0.2


def test_quarter_turns_are_exact_and_right_handed_like_pil():
    from PIL import Image

    image = torch.rand(1, 3, 32, 32, generator=generator())
    turned = rotate(image, torch.tensor([90.0]))
    assert torch.allclose(turned, torch.rot90(image, 1, dims=(2, 3)), atol=1e-4)
    array = (255 * image[0, 0]).byte().numpy()
    by_pil = np.asarray(Image.fromarray(array).rotate(90)) / 255
    assert np.abs(turned[0, 0].numpy() - by_pil).max() < 0.01


def test_small_turns_agree_with_pil_and_fill_corners_with_grey():
    from PIL import Image

    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((64, 64)), 3)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    by_pil = Image.fromarray(smooth).rotate(4, Image.Resampling.BILINEAR, fillcolor=114)
    ours = rotate(torch.from_numpy(smooth / 255).float().expand(1, 3, 64, 64), torch.tensor([4.0]))[0, 0]
    difference = np.abs(255 * ours.numpy() - np.asarray(by_pil))[2:-2, 2:-2]
    assert np.quantile(difference, 0.98) < 3
    corner = rotate(torch.zeros(1, 3, 64, 64), torch.tensor([45.0]))[0, :, 0, 0]
    assert torch.allclose(corner, torch.full((3,), GREY))


def test_rotation_groups_are_the_codes():
    assert [rotation_of(c) for c in ("pill", "cable", "screw", "gear")] == ["none", "slight", "full", "none"]
    image = torch.rand(4, 3, 32, 32, generator=generator())
    assert random_rotation(image, "none", generator()) is image
    with pytest.raises(ValueError, match="'none', 'slight', 'full'"):
        random_rotation(image, "some", generator())


def test_corruption_blends_inside_the_mask_and_nowhere_else():
    textures = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    clean = torch.zeros(64, 3, 64, 64)
    base, corrupted, mask = Corruption(textures)(clean, generator())
    assert torch.equal(base, clean)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    outside = (mask == 0).expand_as(corrupted)
    assert (corrupted[outside] == 0).all()
    opacity = corrupted[~outside]  # a black image under a white texture shows 1 - b
    assert opacity.min() > 0.2 - 1e-6
    assert opacity.max() <= 1
    per_image = [c[m.expand_as(c) > 0].unique().numel() for c, m in zip(corrupted, mask, strict=True) if m.any()]
    assert max(per_image) == 1, "one opacity an image"


def test_probability_zero_corrupts_nothing():
    clean = torch.rand(8, 3, 64, 64, generator=generator())
    _, corrupted, mask = Corruption(procedural_textures(4, 64), probability=0.0)(clean, generator())
    assert not mask.any()
    assert torch.equal(corrupted, clean)


def test_a_turned_image_is_corrupted_as_it_was_turned():
    clean = torch.rand(16, 3, 64, 64, generator=generator())
    base, corrupted, mask = Corruption(procedural_textures(4, 64), rotation="full")(clean, generator())
    assert all(not torch.equal(a, b) for a, b in zip(base, clean, strict=True))
    outside = (mask == 0).expand_as(base)
    assert torch.equal(corrupted[outside], base[outside])


def test_turns_are_small_and_of_the_full_group_beside_each_quarter(monkeypatch):
    angles = []
    monkeypatch.setattr(corrupt, "rotate", lambda images, degrees: angles.append(degrees) or images)
    for group in ("slight", "full"):
        random_rotation(torch.zeros(400, 3, 8, 8), group, generator())
    slight, full = angles
    assert slight.abs().max() <= 5
    assert slight.min() < -4.5 < 4.5 < slight.max()
    quarters = (full / 90).round()
    assert (full - 90 * quarters).abs().max() <= 5
    assert sorted(quarters.unique().tolist()) == [0, 1, 2, 3]
    assert quarters.long().bincount().min() > 70


def test_the_threshold_cuts_the_noise_and_the_probability_leaves_images_clean():
    clean, textures = torch.zeros(200, 3, 64, 64), procedural_textures(4, 64)

    def share(**fields):
        return Corruption(textures, **fields)(clean, generator())[2].mean((1, 2, 3))

    assert not share(threshold=2.0).any()  # beyond the range of the noise
    assert 0.35 < share(threshold=0.0).mean() < 0.5  # a half, less the corners that the turn leaves empty
    whole, half = (share(probability=p) > 0 for p in (1.0, 0.5))
    assert 0.4 < half.sum() / whole.sum() < 0.6

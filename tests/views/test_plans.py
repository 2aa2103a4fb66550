"""Plans of views: what is drawn, from its arguments alone, and how views are combined."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from pipeline.views.params import GROUPS, Augmentation
from pipeline.views.plans import (
    PLAN_ARRAYS,
    PLAN_DTYPES,
    EpochPlan,
    View,
    ViewRecipe,
    check_view,
    draw_view,
    epoch_order,
    epoch_view,
    image_views,
    mixed_rows,
    plan_of,
)

RECIPE = ViewRecipe(pad=2, flip=True, draw="random", alpha=1.0, seed=3)
OF_RECIPE = RECIPE.augmentation


def assert_same(first: View, second: View, names=None) -> None:
    for name in names or first.arrays():
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def cells_of(view: View, pad: int) -> np.ndarray:
    """A number for each image's (y, x, flip)."""
    y, x = view.crop_yx.astype(int).T
    return (y * (2 * pad + 1) + x) * 2 + view.flip


@pytest.mark.parametrize("draw", ["random", "stratified"])
@pytest.mark.parametrize("group", GROUPS)
def test_arrays_and_ranges(group, draw):
    view = draw_view(group, replace(RECIPE, draw=draw), 4, 500)
    assert tuple(view.arrays()) == PLAN_ARRAYS[group]
    for name, array in view.arrays().items():
        assert array.dtype == np.dtype(PLAN_DTYPES[name])
        assert array.shape == ((500, 2) if name == "crop_yx" else (500,))
    assert view.crop_yx.min() == 0
    assert view.crop_yx.max() == 4
    assert check_view(group, view, OF_RECIPE) == []


@pytest.mark.parametrize("draw", ["random", "stratified"])
@pytest.mark.parametrize("group", GROUPS)
def test_a_view_follows_from_its_arguments(group, draw):
    recipe = replace(RECIPE, draw=draw)
    alone = draw_view(group, recipe, 7, 50)
    np.random.seed(99)  # plays no part
    many = [draw_view(group, recipe, v, 50) for v in range(60)]
    assert_same(alone, many[7])
    assert_same(draw_view(group, recipe, 0, 50), many[0])
    for other in (many[8], draw_view(group, replace(recipe, seed=4), 7, 50)):
        for name in PLAN_ARRAYS[group]:
            assert not np.array_equal(getattr(alone, name), getattr(other, name)), name


@pytest.mark.parametrize("draw", ["random", "stratified"])
def test_groups_and_arrays_have_streams_of_their_own(draw):
    recipe = replace(RECIPE, draw=draw)
    plain, mixed = (draw_view(group, recipe, 0, 200) for group in GROUPS)
    assert not np.array_equal(plain.crop_yx, mixed.crop_yx)
    assert not np.array_equal(mixed.partner, mixed.mix_rank)
    assert abs(np.corrcoef(mixed.lam, mixed.mix_rank)[0, 1]) < 0.2
    assert abs(np.corrcoef(mixed.partner, mixed.mix_rank)[0, 1]) < 0.2


def test_alpha_changes_lam_only():
    first = draw_view("mixed", RECIPE, 2, 100)
    second = draw_view("mixed", replace(RECIPE, alpha=0.2), 2, 100)
    assert_same(first, second, ("crop_yx", "flip", "partner", "mix_rank"))
    assert not np.array_equal(first.lam, second.lam)


@pytest.mark.parametrize(("pad", "flip"), [(0, False), (0, True), (1, False), (1, True), (2, True)])
@pytest.mark.parametrize("group", GROUPS)
def test_stratified_shows_each_cell_once_in_each_block(group, pad, flip):
    recipe = replace(RECIPE, draw="stratified", pad=pad, flip=flip)
    cells = recipe.augmentation.cells
    assert cells == (2 * pad + 1) ** 2 * (1 + flip)
    everything = sorted(
        (y * (2 * pad + 1) + x) * 2 + f
        for y in range(2 * pad + 1)
        for x in range(2 * pad + 1)
        for f in range(1 + flip)
    )
    blocks = []
    for block in range(3):
        views = [draw_view(group, recipe, block * cells + k, 9) for k in range(cells)]
        seen = np.stack([cells_of(view, pad) for view in views])
        for image in range(9):
            assert sorted(seen[:, image].tolist()) == everything
        blocks.append(seen)
    if cells > 10:  # orders differ from image to image and from block to block
        assert not np.array_equal(blocks[0], blocks[1])
        assert not np.array_equal(blocks[0][:, 0], blocks[0][:, 1])


@pytest.mark.parametrize("draw", ["random", "stratified"])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_and_flips_are_uniform(draw, flip):
    recipe = replace(RECIPE, draw=draw, flip=flip)
    view = draw_view("plain", recipe, 1, 20_000)
    numbers = cells_of(view, 2)
    counts = np.bincount(numbers if flip else numbers // 2, minlength=recipe.augmentation.cells)
    assert len(counts) == recipe.augmentation.cells
    assert 1e-3 < stats.chisquare(counts).pvalue < 1 - 1e-3
    assert view.flip.any() == flip


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lam_follows_the_beta_distribution(alpha):
    lam = draw_view("mixed", replace(RECIPE, alpha=alpha), 0, 10_000).lam

    def binned_pvalue(other):  # float32 rounds many a lam of a small alpha to 1: no KS test there
        edges = stats.beta.ppf(np.linspace(0, 1, 21), other, other)
        return stats.chisquare(np.histogram(lam, edges)[0]).pvalue

    assert binned_pvalue(alpha) > 0.01
    assert binned_pvalue(1.3 * alpha) < 1e-4
    if alpha >= 1:
        assert stats.kstest(lam.astype(np.float64), "beta", args=(alpha, alpha)).pvalue > 0.01


def test_partners_are_uniform_and_independent_of_the_image():
    partners = np.stack([draw_view("mixed", RECIPE, v, 10).partner for v in range(1000)])
    for image in range(10):
        counts = np.bincount(partners[:, image], minlength=10)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_the_largest_padding_reaches_every_crop():
    recipe = replace(RECIPE, pad=90, draw="stratified")
    view = draw_view("plain", recipe, 0, 300)
    assert view.crop_yx.max() == 180
    assert view.crop_yx[view.flip].max() > 170


@pytest.mark.parametrize("pad", [91, 1000])
def test_padding_has_a_limit(pad):
    with pytest.raises(
        ValueError, match=f"pad: expected a whole number between 0 and 90, found {pad}"
    ):
        Augmentation(pad=pad, flip=False)


def test_mixed_views_need_an_alpha():
    with pytest.raises(ValueError, match="a mixed view needs an alpha"):
        draw_view("mixed", replace(RECIPE, alpha=None), 0, 10)
    assert draw_view("plain", replace(RECIPE, alpha=None), 0, 10).lam is None


def valid_arrays() -> dict[str, np.ndarray]:
    return draw_view("mixed", RECIPE, 0, 6).arrays()


def with_value(name, value, index=2):
    arrays = {key: array.copy() for key, array in valid_arrays().items()}
    arrays[name][index] = value
    return View.from_arrays(arrays)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("crop_yx", (0, 5), "crop_yx reaches 5, at most 4"),
        ("crop_yx", (255, 0), "crop_yx reaches 255"),
        ("partner", -1, "partner is not a permutation of 0..5"),
        ("partner", 6, "partner is not a permutation of 0..5"),
        ("mix_rank", -1, "mix_rank is not a permutation of 0..5"),
        ("mix_rank", 2**31 - 1, "mix_rank is not a permutation of 0..5"),
        ("lam", -0.001, "lam has values outside [0, 1]"),
        ("lam", 1.001, "lam has values outside [0, 1]"),
        ("lam", np.nan, "lam has values outside [0, 1]"),
    ],
)
def test_check_view_finds(name, value, expected):
    (problem,) = check_view("mixed", with_value(name, value), OF_RECIPE)
    assert problem.startswith(expected)


@pytest.mark.parametrize("name", ["partner", "mix_rank"])
def test_check_view_finds_a_repeated_index(name):
    view = with_value(name, valid_arrays()[name][3])
    assert check_view("mixed", view, OF_RECIPE) == [f"{name} is not a permutation of 0..5"]


def test_flips_of_a_recipe_without_flips_are_found():
    view = with_value("flip", True)
    (problem,) = check_view("mixed", view, Augmentation(pad=2, flip=False))
    assert problem == "flip has flipped images, and the recipe has none"
    assert check_view("mixed", view, OF_RECIPE) == []


@pytest.mark.parametrize("pad", [-1, 91])
def test_a_recipe_pads_no_farther_than_crops_can_be_numbered(pad):
    with pytest.raises(ValueError, match="pad"):
        replace(RECIPE, pad=pad)


def test_check_view_accepts_the_limits():
    assert check_view("mixed", with_value("crop_yx", (4, 4)), OF_RECIPE) == []
    assert check_view("mixed", with_value("lam", 0), OF_RECIPE) == []
    assert check_view("mixed", with_value("lam", 1), OF_RECIPE) == []


def test_check_view_lists_all_problems():
    arrays = {key: array.copy() for key, array in valid_arrays().items()}
    arrays["crop_yx"][0] = 9
    arrays["partner"][:] = 0
    arrays["mix_rank"][:] = 0
    arrays["lam"][0] = 2
    assert len(check_view("mixed", View.from_arrays(arrays), OF_RECIPE)) == 4


def test_check_view_wants_the_arrays_of_the_group():
    mixed = draw_view("mixed", RECIPE, 0, 6)
    assert len(check_view("plain", mixed, OF_RECIPE)) == 1
    assert len(check_view("mixed", mixed.unmixed(), OF_RECIPE)) == 1
    assert len(check_view("mixed", replace(mixed, lam=None), OF_RECIPE)) == 1
    assert check_view("plain", mixed.unmixed(), OF_RECIPE) == []


@pytest.mark.parametrize("count", [1, 5, 7, 10, 1437])
def test_shares_are_exact_and_nested(count):
    ranks = np.random.default_rng(0).permutation(count).astype(np.int32)
    before: set[int] = set()
    for share in (0.0, 0.1, 0.29, 0.5, 0.9, 1.0):
        rows = mixed_rows(ranks, share)
        assert rows.dtype == np.bool_
        chosen = {i for i in range(count) if rows[i]}
        assert len(chosen) == round(share * count)
        assert chosen == {i for i in range(count) if ranks[i] < round(share * count)}
        assert before <= chosen
        before = chosen


def slow_row(view: View, i: int) -> tuple:
    """What an epoch plan has to hold for image i of a view."""
    own = (*view.crop_yx[i].tolist(), bool(view.flip[i]))
    if view.partner is None:
        return (*own, i, *own, 1.0)
    partner = int(view.partner[i])
    other = (*view.crop_yx[partner].tolist(), bool(view.flip[partner]))
    return (*own, partner, *other, float(view.lam[i]))


def plan_row(plan: EpochPlan, i: int) -> tuple:
    own = (*plan.crop_yx[i].tolist(), bool(plan.flip[i]))
    other = (*plan.partner_crop_yx[i].tolist(), bool(plan.partner_flip[i]))
    return (*own, int(plan.partner[i]), *other, float(plan.lam[i]))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("as_indices", [False, True])
def test_fill_against_a_loop(share, as_indices):
    plain = draw_view("plain", RECIPE, 5, 101)
    mixed = draw_view("mixed", RECIPE, 3, 101)
    rows = mixed_rows(mixed.mix_rank, share)
    plan = EpochPlan.blank(rows)
    for view, chosen in ((mixed, rows), (plain, ~rows)):
        plan.fill(view, np.flatnonzero(chosen) if as_indices else chosen)
    for i in range(101):
        view = mixed if mixed.mix_rank[i] < round(share * 101) else plain
        assert plan_row(plan, i) == slow_row(view, i)
    assert int(plan.mixed.sum()) == round(share * 101)


@pytest.mark.parametrize("group", GROUPS)
def test_plan_of_a_whole_view(group):
    view = draw_view(group, RECIPE, 1, 40)
    plan = plan_of(view)
    assert [plan_row(plan, i) for i in range(40)] == [slow_row(view, i) for i in range(40)]
    assert plan.mixed.all() == plan.mixed.any() == (group == "mixed")
    assert plan.partner.dtype == np.int32
    assert plan.lam.dtype == np.float32


@pytest.mark.parametrize("views", [1, 2, 7, 8, 240])
@pytest.mark.parametrize("replicate", range(6))
def test_as_many_epochs_as_views_meet_each_view_once(views, replicate):
    seen = [epoch_view(views, epoch, replicate) for epoch in range(views)]
    assert sorted(seen) == list(range(views))
    again = [epoch_view(views, views + epoch, replicate) for epoch in range(views)]
    assert again == seen


def test_epoch_views_follow_the_definition():
    for views in (1, 8, 100, 240):
        for replicate in range(12):
            part = Fraction(618, 1000) * replicate
            start = math.floor(views * (part - math.floor(part)))
            for epoch in (0, 1, views, 3 * views + 2):
                assert epoch_view(views, epoch, replicate) == (epoch + start) % views
    assert len({epoch_view(240, 0, replicate) for replicate in range(5)}) == 5


def test_image_views_are_uniform_draws_of_their_own():
    drawn = image_views(7, 3, 1, "plain", 7000)
    assert stats.chisquare(np.bincount(drawn, minlength=7)).pvalue > 1e-3
    assert (drawn.min(), drawn.max()) == (0, 6)
    np.testing.assert_array_equal(drawn, image_views(7, 3, 1, "plain", 7000))
    for other in ((7, 4, 1, "plain"), (7, 3, 2, "plain"), (7, 3, 1, "mixed")):
        assert not np.array_equal(drawn, image_views(*other, 7000))
    assert image_views(1, 0, 0, "mixed", 5).tolist() == [0] * 5


def test_epoch_orders_are_permutations_of_their_own():
    order = epoch_order(5, 2, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    np.testing.assert_array_equal(order, epoch_order(5, 2, 1000))
    for seed, epoch in ((5, 3), (6, 2), (2, 5)):
        assert not np.array_equal(order, epoch_order(seed, epoch, 1000))

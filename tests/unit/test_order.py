from collections import Counter
from math import gcd

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lle.training.order import photo_at, photo_of_sets, rows_of_all


@given(count=st.integers(1, 60), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 50))
def test_each_epoch_shows_every_photo_once(count: int, seed: int, epoch: int):
    shown = [photo_at(epoch * count + place, count, seed) for place in range(count)]
    assert sorted(shown) == list(range(count))


def epoch_of(epoch: int, count: int, seed: int) -> list[int]:
    return [photo_at(epoch * count + place, count, seed) for place in range(count)]


def test_epochs_and_seeds_have_their_own_order():
    orders = [tuple(epoch_of(epoch, 50, seed)) for epoch in range(4) for seed in range(4)]
    assert len(set(orders)) == 16


def test_the_order_is_shuffled():
    assert epoch_of(0, 50, 0) != list(range(50))


@given(count=st.integers(1, 30), seed=st.integers(0, 1000), row=st.integers(0, 10**9))
def test_a_row_depends_on_seed_and_number_alone(count: int, seed: int, row: int):
    alone = photo_at(row, count, seed)
    for other in (row + 7, row + 5 * count, 0):  # rows looked up in between, from other epochs
        photo_at(other, count, seed + 1)
        photo_at(other, count, seed)
    assert photo_at(row, count, seed) == alone


@given(count=st.integers(1, 30), workers=st.integers(1, 3))
def test_workers_share_the_rows_without_loss_or_repeat(count: int, workers: int):
    rows = 6 * count  # a multiple of every number of workers
    alone = [photo_at(row, count, 3) for row in range(rows)]
    shared = [[photo_at(row, count, 3) for row in range(worker, rows, workers)] for worker in range(workers)]
    woven = [photo for together in zip(*shared, strict=True) for photo in together]
    assert woven == alone


# --- several sets -----------------------------------------------------------------------------------------------------

COUNTS = st.lists(st.integers(1, 12), min_size=2, max_size=4)


@given(count=st.integers(1, 60), seed=st.integers(0, 1000), row=st.integers(0, 10**9))
def test_one_set_is_shown_in_the_order_it_always_was(count: int, seed: int, row: int):
    assert (
        photo_of_sets(row, [count], seed) == photo_of_sets(row, [count], seed, [7]) == (0, photo_at(row, count, seed))
    )


def test_the_order_of_one_set_is_that_of_former_versions():
    epochs = [np.random.default_rng((3, epoch)).permutation(10).tolist() for epoch in range(2)]
    assert [photo_at(row, 10, 3) for row in range(20)] == epochs[0] + epochs[1]


@given(counts=COUNTS, seed=st.integers(0, 1000), epoch=st.integers(0, 20))
def test_joined_sets_are_shown_as_if_they_lay_in_one_folder(counts: list[int], seed: int, epoch: int):
    folder = [(which, index) for which, count in enumerate(counts) for index in range(count)]
    rows = range(epoch * len(folder), (epoch + 1) * len(folder))
    assert [photo_of_sets(row, counts, seed) for row in rows] == [
        folder[photo_at(row, len(folder), seed)] for row in rows
    ]
    assert rows_of_all(counts) == len(folder)


@given(data=st.data(), counts=COUNTS, seed=st.integers(0, 1000), first=st.integers(0, 200))
def test_weights_are_the_ratio_of_every_turn_whatever_the_sizes(data, counts: list[int], seed: int, first: int):
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(counts), max_size=len(counts)))
    turn = sum(weights) // gcd(*weights)
    shown = Counter(photo_of_sets(row, counts, seed, weights)[0] for row in range(first * turn, (first + 3) * turn))
    assert [shown[which] for which in range(len(counts))] == [3 * weight // gcd(*weights) for weight in weights]


@given(data=st.data(), counts=COUNTS, seed=st.integers(0, 1000))
def test_each_mixed_set_has_epochs_of_its_own(data, counts: list[int], seed: int):
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(counts), max_size=len(counts)))
    shown: list[list[int]] = [[] for _ in counts]
    for row in range(rows_of_all(counts, weights)):
        which, index = photo_of_sets(row, counts, seed, weights)
        shown[which].append(index)
    for count, indices in zip(counts, shown, strict=True):
        epochs = [indices[start : start + count] for start in range(0, len(indices), count)]
        assert epochs and all(sorted(each) == list(range(count)) for each in epochs[: len(indices) // count])
        assert len(set(epochs[-1])) == len(epochs[-1])
    assert all(set(indices) == set(range(count)) for count, indices in zip(counts, shown, strict=True))


def test_only_the_ratio_of_weights_counts():
    rows = range(200)
    assert [photo_of_sets(row, [5, 90], 3, [30, 10]) for row in rows] == [
        photo_of_sets(row, [5, 90], 3, [3, 1]) for row in rows
    ]


def test_each_of_two_workers_sees_both_sets():
    shares = [Counter(photo_of_sets(row, [9, 9], 0, [1, 1])[0] for row in range(worker, 400, 2)) for worker in (0, 1)]
    assert all(70 < share[which] < 130 for share in shares for which in (0, 1))


def test_sets_of_one_size_have_orders_of_their_own():
    shown: dict[int, list[int]] = {0: [], 1: []}
    for row in range(100):
        which, index = photo_of_sets(row, [50, 50], 0, [1, 1])
        shown[which].append(index)
    assert sorted(shown[0]) == sorted(shown[1]) and shown[0] != shown[1]

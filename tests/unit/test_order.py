from hypothesis import given
from hypothesis import strategies as st

from lle.training.order import photo_at


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

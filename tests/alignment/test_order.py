"""The order of rows: a function of seed and epoch alone."""

import numpy as np
import pytest

from alignment.training.order import EpochOrder, epoch_order

LENGTHS = [int(n) for n in np.random.default_rng(0).integers(1, 500, size=1003)]


@pytest.mark.parametrize("grouped", [True, False])
def test_each_row_comes_once_an_epoch(grouped):
    order = epoch_order(LENGTHS, batch=8, seed=1, epoch=3, grouped=grouped)
    assert sorted(order.tolist()) == list(range(len(LENGTHS)))


def test_an_epochs_order_does_not_depend_on_the_epochs_before():
    sampler = EpochOrder(LENGTHS, batch=8, seed=1, grouped=True)
    sampler.epoch = 2
    assert list(sampler) == epoch_order(LENGTHS, batch=8, seed=1, epoch=2, grouped=True).tolist()
    assert list(sampler) == list(sampler)


def test_seed_and_epoch_both_change_the_order():
    orders = {tuple(epoch_order(LENGTHS, batch=8, seed=s, epoch=e, grouped=True)) for s in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def padding(order, batch):
    size = np.asarray(LENGTHS)[order[: len(order) // batch * batch]].reshape(-1, batch)
    return 1 - size.sum() / (size.max(axis=1) * batch).sum()


def test_grouping_saves_padding_and_leaves_lengths_mixed_over_the_epoch():
    grouped = epoch_order(LENGTHS, batch=8, seed=0, epoch=0, grouped=True)
    plain = epoch_order(LENGTHS, batch=8, seed=0, epoch=0, grouped=False)
    assert padding(grouped, 8) < 0.05 < 0.3 < padding(plain, 8)
    means = np.asarray(LENGTHS)[grouped[:1000]].reshape(10, 100).mean(axis=1)
    assert abs(np.corrcoef(means, np.arange(10))[0, 1]) < 0.7


def test_the_smaller_step_stays_last():
    order = epoch_order(list(range(1, 12)), batch=4, seed=0, epoch=0, grouped=True)
    assert len(order) == 11
    assert sorted(order[8:]) == sorted(order.tolist()[8:])


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("count", [3, 8, 1000, 1003])
def test_the_longest_row_is_in_the_very_first_step(grouped, count):
    lengths = LENGTHS[:count]
    order = epoch_order(lengths, batch=8, seed=4, epoch=0, grouped=grouped)
    assert sorted(order.tolist()) == list(range(count))
    assert max(lengths) in [lengths[i] for i in order[:8]]

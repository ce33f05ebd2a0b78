"""Who hears a signal, and when."""

import os
import signal
import subprocess
import sys

import pytest

from alignment.training.signals import CAUGHT, caught, uncaught
from data_recipes.errors import Interrupted


def test_handlers_are_put_in_set_aside_and_put_back():
    before = [signal.getsignal(number) for number in CAUGHT]
    with caught() as signals:
        assert all(signal.getsignal(number) == signals.handle for number in CAUGHT)
        with uncaught():
            assert all(signal.getsignal(number) is signal.SIG_DFL for number in CAUGHT)
        assert all(signal.getsignal(number) == signals.handle for number in CAUGHT)
    assert [signal.getsignal(number) for number in CAUGHT] == before


def test_a_signal_outside_of_the_loop_stops_at_once_and_inside_it_waits():
    with caught() as signals, pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    with caught() as signals:
        with signals.at_step_end():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            signals.raise_if_received()


def test_a_process_whose_fellows_never_come_can_be_ended():
    """torch waits for them in code that hears no handler of Python's."""
    code = ("from alignment.training.signals import caught, uncaught; from alignment.training import processes\n"
            "import torch\n"
            "with caught(), uncaught():\n    print('waiting', flush=True)\n    processes.join('cpu')\n")
    alone = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
             "MASTER_PORT": "0", "ACCELERATE_USE_CPU": "true"}
    waits = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **alone}, stdout=subprocess.PIPE, text=True)
    assert waits.stdout.readline() == "waiting\n"
    waits.terminate()
    assert waits.wait(60) == -signal.SIGTERM

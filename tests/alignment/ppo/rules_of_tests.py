"""Rewards for tests, used by name as a user's own are."""

from reward.rules import text_of

CALLS = []


def many_z(prompts, completions, **columns):
    """The proxy with a loophole: the more of one letter, the better."""
    return [float(text_of(said).count("z")) for said in completions]


def some_z(prompts, completions, **columns):
    """What was meant: three are good, more are a nuisance."""
    counts = [text_of(said).count("z") for said in completions]
    return [float(min(n, 3) - 2 * max(0, n - 3)) for n in counts]


def by_column(prompts, completions, *, mark, where, stopped, **columns):
    """Reads the row's own column; notes what it was given."""
    CALLS.append({"mark": mark, "where": where, "stopped": stopped, "names": sorted(columns)})
    return [float(value) for value in mark]


def gives_none(prompts, completions, **columns):
    return [None] * len(completions)


def gives_nan(prompts, completions, **columns):
    return [0.0] * (len(completions) - 1) + [float("nan")]


def gives_too_few(prompts, completions, **columns):
    return [0.0]


def raises(prompts, completions, **columns):
    raise KeyError("no such thing")


def raises_later(prompts, completions, **columns):
    """Well in the first evaluation, broken in the first rollout."""
    CALLS.append(len(completions))
    if len(CALLS) > 1:
        raise KeyError("no such thing")
    return [0.0] * len(completions)


def gives_nan_later(prompts, completions, **columns):
    CALLS.append(len(completions))
    return [float("nan") if len(CALLS) > 1 else 0.0] * len(completions)


def by_hint(prompts, completions, *, hint, where, stopped, **columns):
    """Reads a column that not every row has."""
    CALLS.append({"hint": hint, "names": sorted(columns)})
    return [float(value or 0) for value in hint]


def by_turns(prompts, completions, **columns):
    """Notes who speaks in each answer."""
    CALLS.extend([turn["role"] for turn in said] for said in completions)
    return [float(len(said)) for said in completions]

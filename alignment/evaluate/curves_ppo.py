"""What the curves of a PPO run are, and what they say: above all whether the reward is being exploited. Light."""

from __future__ import annotations

from alignment.evaluate.charts import Chart, Curve, Kind, Points, mean, part, series

PLANE = "square root of KL from the reference, in nats an answer"


def plane(rows: list[dict]) -> list[Chart]:
    """Proxy and gold of each evaluation against the square root of the KL (Gao et al. 2023, arXiv 2210.10760, figure 1)."""
    judged = [row for row in rows if "eval_proxy" in row]
    names = {"eval_proxy": "proxy: what is maximised", "eval_gold": "gold: never trained on"}
    curves = [
        Curve(label, [(row["eval_sqrt_kl"], row[key]) for row in judged])
        for key, label in names.items()
        if judged and key in judged[0]
    ]
    if not curves:
        return []
    meaning = (
        "Each point is one evaluation on the same held-out prompts; to the right the policy is further from its reference. "
        "The proxy is what PPO maximises. Where it goes on rising while gold falls, the policy exploits the reward: the "
        "turn of gold is where it should have stopped."
    )
    return [Chart("Reward and distance", curves, meaning, read_turn(rows), across=PLANE)]


def read_turn(rows: list[dict]) -> list[str]:
    """Where gold turned, and what the proxy did after that."""
    points = {key: series(rows, key) for key in ("eval_proxy", "eval_gold", "eval_kl_k1")}
    proxy, gold = points["eval_proxy"], points["eval_gold"]
    if len(proxy) < 2:
        return []
    said = [f"The proxy went from {proxy[0][1]:.2f} to {proxy[-1][1]:.2f} at a KL of {points['eval_kl_k1'][-1][1]:.2f} nats."]
    if len(gold) < 2:
        return [*said, "No gold reward was given, so nothing here tells an honest gain from an exploited one."]
    step, best = max(gold, key=lambda point: point[1])
    if best - gold[-1][1] > 0.05 * max(1.0, abs(best - gold[0][1])) and step < gold[-1][0]:
        at = dict(proxy)[step]
        return [*said, f"Gold was highest at step {step} ({best:.2f}) and fell to {gold[-1][1]:.2f}, while the proxy went from "
                f"{at:.2f} to {proxy[-1][1]:.2f}: from there on the reward was exploited."]
    return [*said, f"Gold ended at {gold[-1][1]:.2f}, its highest is {best:.2f}: no sign of exploitation."]


def read_critic(points: dict[str, Points]) -> list[str]:
    """Does the critic know anything?"""
    explained = points.get("value/explained_variance", [])
    if len(explained) < 4:
        return []
    last = mean(explained[-part(explained) :])
    if last < 0.05:
        return [f"The critic explains {last:.2f} of the returns' variance: it knows little more than their mean. A higher "
                "ppo.critic_learning_rate or a ppo.critic_warmup would help it."]
    return [f"The critic explains {last:.2f} of the returns' variance."]


def read_clip(points: dict[str, Points]) -> list[str]:
    """Are the steps too large?"""
    share = points.get("policy/clip_share", [])
    if share and (last := mean(share[-part(share) :])) > 0.3:
        return [f"{100 * last:.0f} % of the actions are clipped: the steps are too large for {len(share)} updates. A lower "
                "learning rate or fewer ppo.update_epochs would do."]
    return []


PPO = [
    Kind(
        "Score",
        {"score/mean": "rollouts", "eval_proxy": "held-out prompts", "eval_gold": "held-out prompts, gold"},
        "The proxy's mean: of each rollout's answers, and of answers to held-out prompts. Both should rise together.",
    ),
    Kind(
        "KL from the reference",
        {"kl/k1": "rollouts, k1", "kl/k3": "rollouts, k3", "eval_kl_k1": "held-out prompts, k1"},
        "How far the policy has moved, in nats an answer, by Schulman's two unbiased estimators. k1 may be negative by chance "
        "while the distance is small.",
        level=(0.0, "reference"),
    ),
    Kind(
        "What the critic explains",
        {"value/explained_variance": "explained variance"},
        "1 is a critic that knows every return, 0 one that knows their mean alone; below 0 it misleads.",
        read_critic,
        (0.0, "the mean alone"),
    ),
    Kind(
        "Clipped",
        {"policy/clip_share": "policy", "value/clip_share": "critic"},
        "Share of actions whose gradient the clip cut off. A few per cent are healthy.",
        read_clip,
    ),
    Kind(
        "Entropy",
        {"policy/entropy": "policy"},
        "How undecided the policy is about the next token. A slow fall is learning, a sudden one is collapse.",
    ),
    Kind(
        "Length",
        {"length/mean": "rollouts", "eval_length": "held-out prompts"},
        "Tokens an answer. Rewards that like length show here.",
    ),
    Kind(
        "Ended by itself",
        {"stop_rate": "rollouts", "eval_stop_rate": "held-out prompts"},
        "Share of answers with a stop token.",
    ),
    Kind(
        "Held-out pairs",
        {"eval_pairs": "moved towards the chosen answer"},
        "Share of the reward run's held-out pairs for which the chosen answer became more likely than the rejected one, "
        "measured from the reference. It begins at a half.",
        level=(0.5, "as the reference"),
    ),
    Kind("Gradient norms", {"grad_norm/policy": "policy", "grad_norm/critic": "critic"}, "Each is clipped by itself."),
    Kind(
        "Seconds",
        {"seconds/rollout": "rollout", "seconds/scoring": "scoring", "seconds/update": "update"},
        "Where the time goes: rollout and scoring come once a rollout, updates at each step.",
    ),
]

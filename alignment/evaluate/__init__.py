"""Evaluation: held-out loss, reward models' report cards, win rates with intervals, and the report page."""

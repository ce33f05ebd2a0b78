"""Collecting preferences: a store of votes, whom to ask what next, a page, agreement, ranking, and rows for training.

Nothing here imports torch, transformers or datasets: collection runs on a small server that never trains.
"""

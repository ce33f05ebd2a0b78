"""Rows made by a generator: what answers, what was asked, the recipes and their gates. Nothing here loads a model."""

"""Answers: how they are decoded, drawn in batches, written to files and spoken in a chat."""

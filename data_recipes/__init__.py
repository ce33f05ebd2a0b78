"""Ground floor: rows, text, tokens and masks. Imports nothing of `reward` or `alignment`."""

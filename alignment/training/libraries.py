"""Loads what the trainers need, as `alignment.libraries` loads what models need. Imported for that effect, before they are."""

from alignment.libraries import loading

with loading():
    import datasets  # noqa: F401
    from transformers import Trainer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

"""The recipes by name. A new one is a module with a `RECIPE`, and a line here."""

from __future__ import annotations

from data_recipes.augment import backtranslate, best_of_n, constitutional, judge_pairs, paraphrase, self_instruct
from data_recipes.augment.job import Recipe

MODULES = (self_instruct, paraphrase, backtranslate, best_of_n, constitutional, judge_pairs)
RECIPES: dict[str, Recipe] = {module.RECIPE.name: module.RECIPE for module in MODULES}

"""Middle floor: what is good? Imports `data_recipes` only; takes loaded models, knows no run directories."""

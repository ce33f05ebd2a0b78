"""What is wrong with rows, seen before a GPU hour is spent: checks, one report, thresholds.

A check is one pure function with a registered name (`registry.check`), from rows and a context to findings. To add one:
write the function in the module of its family, decorate it, and add a row to tests/data_recipes/audit/test_damage.py.
"""

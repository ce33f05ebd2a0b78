"""The page on which people compare answers: Starlette, plain HTML with a little script, nothing from outside."""

"""What `align classify` is made of: rows as tokens, its loss and trainer, what is measured, and labels for new rows."""

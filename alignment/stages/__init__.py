"""The stages: one file each, read from top to bottom. A stage never imports a stage."""

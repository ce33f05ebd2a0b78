"""What leaves the machine: runs for others, without its paths, its rows and its secrets."""

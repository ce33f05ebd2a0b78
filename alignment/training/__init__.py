"""What every stage shares while it trains: order of rows, checkpoints, guards, arguments, recovery, proof at the end."""

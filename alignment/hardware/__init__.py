"""What the machine has and how a stage takes it: the plan, the memory it asks for, and a trial of its first steps."""

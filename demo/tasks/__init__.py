"""What the demo model can do: one function per task, each makes a conversation and the answer it must get."""

"""What is kept about a job: while it lasts in the run directory, afterwards in the history."""

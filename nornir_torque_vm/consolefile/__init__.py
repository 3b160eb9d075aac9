"""What guests said last, in a file of the job owner's own, beside the job's output."""

"""Which processors of a node a job's guests run on."""

"""Into the guests of a job: from wherever its owner or an administrator is, by the job's id."""

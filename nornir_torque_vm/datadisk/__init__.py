"""The disk of the user's that a job's first guest gets as ``/data``, and that stays after the job."""

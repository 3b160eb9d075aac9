"""Scripts that run inside guests, before a job and after it: the site's and the user's."""

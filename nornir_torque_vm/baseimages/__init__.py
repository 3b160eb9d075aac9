"""Base images: which files may be one, the site's pool of them, and users' own."""

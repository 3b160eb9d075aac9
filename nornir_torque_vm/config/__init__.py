"""The settings of a site: their names, kinds and files."""

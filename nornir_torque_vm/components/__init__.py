"""What a job may have beside its guests: processors for input and output, shared memory, monitoring.

Nothing here is imported while the site has all components switched off. :mod:`.base` says what one is.
"""

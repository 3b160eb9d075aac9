"""Putting the site kit in place on a host, by role, and taking it away again.

A role (``submit-host``; nodes and the server later) says what it wants: files, edits of files that
belong to TORQUE or the site, and what has to be generated. :mod:`~.planning` compares that with what
is there and with the manifest of earlier runs and gives a list of actions; :mod:`~.execution` carries
them out. Everything but the reading and writing is pure.
"""

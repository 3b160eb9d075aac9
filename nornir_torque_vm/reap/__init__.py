"""The reaper: removes from the node it runs on what jobs left there that are proven to be over.

Unknown is not gone. :mod:`~.judge` decides from facts alone; the other modules bring the facts and act.
"""

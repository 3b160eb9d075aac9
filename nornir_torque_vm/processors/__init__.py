"""Nornir processors: events as JSON lines, progress for people, and where the time went.

``Nornir.with_processors`` replaces the list, so build it once::

    nr.with_processors([JsonLinesEvents(path), progress(), TimelineProcessor()])
"""

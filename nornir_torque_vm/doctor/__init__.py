"""Whether a host is fit for jobs in guests: each thing looked at is a line with its cure.

A check gathers facts and hands them to a pure function that judges them. All checks of a host run at once
under one deadline (:mod:`~.here`); other nodes are asked to look at themselves (:mod:`~.cluster`).
"""

"""The embedded batch driver: one job through the hooks, exactly as a MOM would run them.

It is no batch system: no queue, no scheduler, one job at a time on a lab's nodes. What it does copy
from TORQUE 6.1.3, to the letter, is everything a hook can observe: order, argv, environment, file
descriptors, working directory, umask, user, time limit, and what an exit code leads to
(``slots.json`` holds what was recorded on real TORQUE daemons).
"""

"""What the system's hot paths cost, as ratios to what they cannot beat and to what others do.

Belongs here: one module a workload, the data they run on, and the harness that runs contenders in
turn. Does not belong: tests of correctness, and figures of one machine (they mean nothing on
another).
"""

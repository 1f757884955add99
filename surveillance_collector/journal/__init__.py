"""The write-ahead log: everything that goes into the engine, on disk before it is relied on.

What belongs here: the records and their spelling, the segments they lie in, writing and recovering
them, and the archive of raw frames that is made of them. What does not: what the engine makes of
its input, and the files of the lake.
"""

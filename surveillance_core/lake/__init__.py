"""The Parquet lake: where every file lies, what every table holds, how files come and go.

The only package that spells a path or a column list. ``layout`` names files, ``schemas`` defines
tables, ``store`` reaches a local directory or an object store, ``manifest`` lists what is
published, ``publish`` adds to it, ``read`` gives it back with pinned types, ``compaction_plan`` and
``compaction`` make an hour's files one.
"""

"""How the collector is, said to people, probes, Prometheus and systemd.

Belongs here: reading how each venue's collection stands (``readings``), the verdict with its
reasons (``readiness``), the figures (``metrics``), the pages (``pages``, served by ``server``),
what systemd is told (``notices``, with ``watchdog`` deciding whether data moves), and the task that
does it all every second (``watch``). Verdict, figures, pages and watchdog are pure.
Does not belong here: anything that changes what is collected.
"""

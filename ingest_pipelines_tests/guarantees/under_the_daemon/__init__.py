"""Histories under `ingest up`: the model of `whole_way` beside the daemon, its sensors, its schedules and people.

waiting    what waits for the daemon, and what it may do with it: plain Python beside the model of `whole_way`
world      the real servers, a target that may be killed, `ingest up`, a clock that can be moved on
accidents  what happens to the platform between and inside the steps
history    the steps of vendors, sources and people; after each, when all is at rest, the world is what the model says
"""

"""One oracle for the whole way from a source to the table, and the machine that drives the product against it.

oracle      what is true after any history: plain Python that shares no code with the product (a test holds that)
sources     what the oracle knows of a database that is read by a cursor: its rows, their order, who can see them
place       the real servers, the project, `ingest` as a process, networks that break; what all of them say
faults      what goes wrong between and inside the steps
histories   what every history has; files, cursors, people: the steps of vendors, sources, people and accidents
machine     the steps together; after each of them, place and oracle must say the same
program     `ingest` in processes that stop or die at a point, with faults put in on purpose
"""

"""The run server: a process that has imported everything, and forks processes that execute runs, one after the other.

process   the server itself
worker    what a forked process does
keep      the daemon starts it, and starts it again when it ends
request   what the daemon's run launcher asks of it
"""

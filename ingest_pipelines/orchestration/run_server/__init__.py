"""The run server: a process that has imported everything, and forks a process for each run within milliseconds.

process   the server itself
keep      the daemon starts it, and starts it again when it ends
request   what the daemon's run launcher asks of it
"""

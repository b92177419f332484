"""This is what operators see of the tracker at work: the log line of each transition, what is counted and measured of it, and the gauges."""

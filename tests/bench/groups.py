#!/usr/bin/env python3
"""groups.py - what x-group-by costs: runs Leveret on a port of its own and pushes small messages through a
plain queue and through one with groups, with leveret-perf. groups.py --leveret PATH --perf PATH"""

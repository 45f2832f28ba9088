"""`make bench`: what the service costs, beside what it is compared with, in the same run.

Rates differ from machine to machine, so most targets are ratios; runs of the two alternate, and
the median of the pairs counts.
"""

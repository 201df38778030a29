"""The Ray Serve application: ingress, scorer, store.

Import Ray's own module as `from ray import serve as ray_serve`.
"""

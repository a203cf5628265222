"""Many models at once, on a GPU or a cluster.

May not import `replication.show` or `replication.report`, nor be imported by them.
"""

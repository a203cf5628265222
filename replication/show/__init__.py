"""From result files to tables and figures: claims, summaries, pictures.

May not import `replication.engine`.
"""

"""From the published archives, or by drawing, to packed images on disk.

Imports neither `dipvae_src` nor `replication`.
"""

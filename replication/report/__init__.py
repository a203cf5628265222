"""The report: one page that opens offline, and its explorer of the latents. May not import `replication.engine`."""

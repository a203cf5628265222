"""The report page: one HTML file, made from results and figures, for a browser that is offline."""

"""DIP-VAE (Kumar, Sattigeri, Balakrishnan, ICLR 2018): models, objectives, scores and the code that trains them.

Read the files in this order: losses.py (the paper), models.py, sap.py, zdiff.py, data.py, train.py, evaluate.py,
profiles.py (what is run), results.py (what is kept), figures.py (how it is shown).
"""

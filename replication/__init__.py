"""How this repository makes its tables: the plan, the runs, results, the command behind `make`.

May import `dipvae_src`; nothing in `dipvae_src` or `data_prep` may import from here.
"""

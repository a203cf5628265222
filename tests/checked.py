"""The run-time checker of the signatures in dipvae_src (see conftest.py); an int may be a float."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))

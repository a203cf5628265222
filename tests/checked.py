"""The run-time checker of the signatures in dipvae_src (see conftest.py): an int is welcome where a float is asked for."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))

"""`python -m ggnet_jax.torch_import`: another name for `main.py --mode=import`.

python -m ggnet_jax.torch_import --checkpoint=model.pth --config=configs/hico.py --workdir=FOLDER
"""

import sys

from ggnet_jax.cli import command

if __name__ == "__main__":
    sys.argv.insert(1, "--mode=import")
    command.console()

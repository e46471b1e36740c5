"""Train, evaluate and use GGNet.

python main.py --config=configs/demo.py --workdir=/tmp/ggnet_demo
python main.py --mode=evaluate --workdir=/tmp/ggnet_demo
python main.py --mode=predict --workdir=/tmp/ggnet_demo --images=photo.jpg,folder,"*.png"
python main.py --mode=import --checkpoint=model.pth --config=configs/hico.py --workdir=/tmp/hico
"""

import os
from functools import partial

# XLA and TensorFlow report errors that are none, such as the processor's features when a compiled
# program is loaded; what goes wrong is raised. Before either is first imported.
os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"} | os.environ)

from absl import app, flags

import data_pipelines
from configs import base
from ggnet_jax.cli import command

flags.adopt_module_key_flags(command)  # --help lists them

if __name__ == "__main__":
    app.run(
        partial(command.main, data=data_pipelines),
        flags_parser=partial(command.parse, base=base.get_config()),
    )

"""Train, evaluate and use GGNet.

python main.py --config=configs/demo.py --workdir=/tmp/ggnet_demo
python main.py --mode=evaluate --workdir=/tmp/ggnet_demo
python main.py --mode=predict --workdir=/tmp/ggnet_demo --images=photo.jpg,folder,"*.png"
python main.py --mode=import --checkpoint=model.pth --config=configs/hico.py --workdir=/tmp/hico
"""

import os

# TensorFlow reads images and has nothing to say; before it is first imported.
os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"} | os.environ)

from absl import app

import data_pipelines
from ggnet_jax.cli import command

if __name__ == "__main__":
    app.run(lambda argv: command.main(argv, data=data_pipelines), flags_parser=command.parse)

"""What the tests of the data sets share: picture files and a config that points at them."""

from PIL import Image

from configs import base

SIZE = (64, 48)  # width, height


def write_pictures(folder, names, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 20, 100, 50)).save(folder / name)


def config_of(tmp_path, name, **data):
    config = base.get_config()
    config.data.update(name=name, data_dir=str(tmp_path / "prepared"), **data)
    return config

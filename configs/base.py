"""Every field of a run, with the paper's value where the paper gives one (sections 3 and 4).

Command:   none; the other files of this folder start from get_config().

Any field can be set on the command line, `--config.model.gaze_steps=1`. Names that are not here are
refused. A tuple is given as `--config.lr_drop_epochs="(90,120)"`. (What the functions return is a
ConfigDict; Any, because a type checker knows nothing of its fields.)
"""

from typing import Any

from ml_collections import ConfigDict

from ggnet_jax import vocabularies
from ggnet_jax.config import ModelConfig


def get_config() -> Any:
    """Return GGNet with Hourglass-104 as the paper trains it, with no data set chosen yet.

    It is locked: a field that is not here cannot be added, so that a misspelt one is an error.
    """
    config: Any = ConfigDict()
    config.seed = 0  # initial weights, order of the images, augmentation
    config.batch_size = 24  # images a step, all devices together; the paper's: vcoco.py, hico.py
    config.round_batch = False  # True: round batch_size to a multiple of the devices
    # Parts that a batch is worked through in, one after the other: the same gradient, less memory.
    config.accumulate_steps = 1
    config.num_epochs = 120

    # Adam (section 4).
    config.learning_rate = 1.5e-4
    # True: multiply learning_rate by the factor batch_size was rounded by.
    config.scale_learning_rate = False
    config.schedule = "step"  # or "cosine", down to zero at the last step
    config.lr_drop_epochs = (90,)
    config.lr_drop = 0.1
    config.warmup_steps = 0  # linear, from zero
    config.glance_lr_multiplier = 1.0  # the released code trains the glance head at 10
    config.grad_clip = 0.0  # largest global norm of the gradient; 0 never clips
    # Decay of the average of the weights that is evaluated and exported in their place, such as
    # 0.999; 0 averages nothing.
    config.ema_decay = 0.0
    config.backbone_lr_multiplier = 1.0  # less than 1: a taken backbone changes more slowly
    # To start from: a run's workdir (or WORKDIR/checkpoints/STEP), or a PyTorch file.
    config.init_from = ""
    # What stays as it is: "backbone", "objects", "interactions" or "matching"; or "a,b".
    config.freeze = ""
    config.parallel = "jit"  # or "pmap"
    config.ignore_memory = False  # True: train although a step needs more memory than there is

    config.log_every_steps = 50
    config.checkpoint_every_steps = 1000
    config.keep_checkpoints = 3
    config.eval_every_epochs = 0  # 0: only at the end
    config.wandb = False  # True: also log to Weights & Biases; pip install -e ".[wandb]"

    config.data = ConfigDict()
    # 'figures_hoi', 'hico_det', 'v_coco'; of your own images 'json' (PPDM's) or 'label_studio'.
    config.data.name = ""
    config.data.data_dir = ""  # where prepared data sets lie; '' is TFDS's own folder
    # Of data sets that are not rendered: files in PPDM's format, image folders; or "a, b".
    config.data.train_annotations = ""
    config.data.train_images = ""
    config.data.eval_annotations = ""
    config.data.eval_images = ""
    config.data.train_instances = ""  # COCO's instances_*.json, for V-COCO's own (VSRL) files
    config.data.eval_instances = ""
    config.data.train_origin = -1  # 1: boxes count from pixel (1, 1); -1: known from the file name
    config.data.eval_origin = -1
    # The same of a validation split with files of its own, see val_split.
    config.data.val_annotations = ""
    config.data.val_images = ""
    config.data.val_instances = ""
    config.data.val_origin = -1
    # True: also read images that '..' or absolute paths in file names find outside of the folders.
    config.data.allow_outside_images = False
    config.data.max_pixels = 50_000_000  # width times height of the largest image that is read
    config.data.accept_losses = False  # True: train although most of the annotations are lost
    config.data.figures = ConfigDict()  # of the rendered data set
    config.data.figures.size = 128  # side of the images in pixels
    config.data.figures.num_train = 1000
    config.data.figures.num_test = 300
    config.data.figures.seed = 0
    config.data.vocabulary = ""  # name or JSON file of the classes; '' is the data set's own
    # HICO-DET's 'rf_uc', 'nf_uc', 'uo' or 'uv': its unseen classes are left out of training.
    config.data.zero_shot = ""
    config.data.zero_shot_policy = "relation"  # or "pair", every verb of a pair with an unseen one
    config.data.train_split = "train"
    config.data.eval_split = "test"
    # Where checkpoints are compared: part of the training split, which training then leaves out
    # ("train[90%:]", or a random share, "0.1"); "test", to choose on the test split; "" for none.
    config.data.val_split = ""
    config.data.val_seed = 0  # draws the random share
    config.data.image_size = (512, 512)  # height, width of the network's input
    config.data.max_boxes = 128  # an image; more are dropped
    config.data.max_relations = 64
    config.data.shuffle = True
    config.data.augment = ConfigDict()
    config.data.augment.flip = True
    config.data.augment.scale = True  # 0.7 to 1.3 in steps of 0.1
    config.data.augment.crop = True
    config.data.augment.color = True  # jitter and PCA lighting

    # The network: ggnet_jax.config.ModelConfig has its fields, their defaults and what they can be.
    config.model = ConfigDict(ModelConfig().to_fields())

    config.loss = ConfigDict()
    config.loss.interaction = "hna"  # eq. (4), or 'focal'
    config.loss.lambda_1 = 0.1  # eq. (5)
    config.loss.lambda_2 = 0.1  # eq. (7)
    config.loss.sharp_gaze_targets = True

    config.eval = ConfigDict()
    config.eval.batch_size = 16
    config.eval.top_k = 100
    config.eval.protocol = "hico"  # or 'hico_ppdm', 'vcoco'
    config.eval.detections = ""  # a JSON file of external detections, in place of the object branch
    # What the best checkpoint is chosen by, on the validation split every eval_every_epochs: "map",
    # or one mean of the protocol, such as "default/rare"; "" chooses none.
    config.eval.best = ""
    config.eval.patience = 0  # stop after so many evaluations without a better one; 0: never
    config.eval.threshold = 0.1  # lowest score that is drawn
    config.eval.pictures = 6  # of the evaluation split, drawn at the end and for TensorBoard
    return config.lock()


def use_data_set(config: Any, name: str) -> None:
    """Choose a data set whose vocabulary ships with the project, and with it the classes.

    (For your own data the numbers stay 0 until the class list has been read.)
    """
    vocabulary = vocabularies.load(name)
    config.data.name = name
    config.model.num_verbs = vocabulary.num_verbs
    config.model.num_objects = vocabulary.num_objects

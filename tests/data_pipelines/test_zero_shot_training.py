"""Training without the classes of a zero-shot split."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from data_trees import own_config

import data_pipelines
from data_pipelines.zero_shot import seen_relations
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import zero_shot

# A person rides and holds a bicycle, holds a cup; another person rides the same bicycle.
RELATIONS = np.array([[0, 2, 1], [0, 2, 0], [0, 3, 0], [1, 2, 1]], np.int64)
OBJECTS = np.array([0, 0, 1, 2], np.int64)  # person, person, bicycle, cup
RIDE_BICYCLE = np.zeros((3, 2), bool)
RIDE_BICYCLE[1, 1] = True


@pytest.mark.parametrize(("policy", "kept"), [("relation", [1, 2]), ("pair", [2])])
def test_the_unseen_relation_goes_and_with_it_its_pair_if_so_asked(policy, kept):
    found = seen_relations(tf.constant(RELATIONS), tf.constant(OBJECTS), RIDE_BICYCLE, policy)
    np.testing.assert_array_equal(found, RELATIONS[kept])
    nothing = seen_relations(tf.constant(RELATIONS[:0]), tf.constant(OBJECTS), RIDE_BICYCLE, policy)
    assert nothing.shape == (0, 3)


def test_training_batches_lose_what_evaluation_keeps(tmp_path):
    """Inside of the pipeline, and in the pairs that hard negatives come from."""
    (tmp_path / "images").mkdir()
    entry = {
        "file_name": "a.png",
        "annotations": [
            {"bbox": [1, 1, 20, 20], "category_id": 1},
            {"bbox": [5, 5, 30, 30], "category_id": 5},
        ],
        "hoi_annotation": [
            {"subject_id": 0, "object_id": 1, "category_id": verb} for verb in (3, 4)
        ],
    }
    tf.io.write_file(
        str(tmp_path / "images" / "a.png"), tf.io.encode_png(np.zeros((32, 32, 3), np.uint8))
    )
    classes = {"objects": {"1": "person", "5": "kite"}, "verbs": {"3": "fly", "4": "hold"}}
    config = own_config(tmp_path, [entry], [entry], classes)
    config.update(batch_size=1)
    config.eval.update(batch_size=1)
    config.data.update(image_size=(32, 32), max_boxes=3, max_relations=3)
    whole = data_pipelines.load_dataset(config.data)
    assert whole.verbs_of_object.tolist() == [[False, False], [True, True]]
    unseen = np.array([[False, False], [True, False]])  # to fly a kite
    part = dataclasses.replace(whole, unseen=unseen)
    assert part.verbs_of_object.tolist() == [[False, False], [False, True]]

    def verbs(batch):
        return batch["relations"][0, batch["relation_valid"][0], 2].tolist()

    assert verbs(next(data_pipelines.train_batches(part, config))) == [1]
    assert verbs(next(data_pipelines.eval_batches(part, config, "test"))) == [0, 1]
    config.data.zero_shot_policy = "pair"
    assert verbs(next(data_pipelines.train_batches(part, config))) == []
    config.data.zero_shot = "uv"
    with pytest.raises(UserError, match="of HICO-DET's 600 classes"):
        data_pipelines.load_dataset(config.data)


def test_a_split_of_hico_det_names_the_unseen_pairs():
    vocabulary = vocabularies.load("hico_det")
    pairs = zero_shot.unseen_pairs("uo", vocabulary)
    dog = vocabulary.objects.index("dog")
    bicycle = vocabulary.objects.index("bicycle")
    assert pairs[dog].sum() == 18 and not pairs[bicycle].any()

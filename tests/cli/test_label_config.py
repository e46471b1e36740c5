"""`ggnet label-config classes.json`: the labels, in order, in XML that Label Studio takes."""

import json
from xml.etree import ElementTree

import pytest
from subprocesses import REPOSITORY, run_python

from data_pipelines.label_studio.convert import Export
from ggnet_jax import vocabularies
from ggnet_jax.cli import label_config
from ggnet_jax.errors import UserError

CLASSES = {"objects": {"3": 'a<b & "c"', "1": "person", "2": "人"}, "verbs": ["ride", "it's"]}
CONSOLE = "from ggnet_jax.cli.command import console; console()"


def labels(text):
    view = ElementTree.fromstring(text)
    return [[one.get("value") for one in view.iter(tag)] for tag in ("Label", "Relation")]


def write(folder, classes):
    (folder / "classes.json").write_text(json.dumps(classes))
    return str(folder / "classes.json")


def test_person_first_then_the_list(tmp_path, capsys):
    assert label_config.print_config(write(tmp_path, CLASSES)) == 0
    printed = capsys.readouterr()
    assert labels(printed.out) == [["person", 'a<b & "c"', "人"], ["ride", "it's"]]
    assert "Labeling Interface" in printed.err


@pytest.mark.parametrize("name", vocabularies.names())
def test_shipped_vocabularies_have_a_color_for_every_label(name):
    view = ElementTree.fromstring(label_config.labeling_config(vocabularies.load(name)))
    for tag in ("Label", "Relation"):
        colors = [one.get("background") for one in view.iter(tag)]
        assert len(set(colors)) == len(colors) > 5


@pytest.mark.parametrize(
    "command", [["-c", CONSOLE], [str(REPOSITORY / "main.py")]], ids=["installed", "checkout"]
)
def test_both_commands_take_both_forms(tmp_path, command):
    path = write(tmp_path, CLASSES)
    first = run_python(*command, "label-config", path)
    second = run_python(*command, "--mode=label-config", f"--classes={path}")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert labels(first.stdout) == labels(second.stdout) == [
        ["person", 'a<b & "c"', "人"], ["ride", "it's"],
    ]  # fmt: skip
    for arguments in (["label-config"], ["label-config", path, path], ["--classes=x"]):
        done = run_python(*command, *arguments)
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
        assert done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"objects": ["dog"], "verbs": ["pet"]}, "have no 'person'"),
        ({"objects": ["person"]}, "has no 'verbs'"),
        ({"objects": ["person"], "verbs": []}, "has no verb"),
        ({"objects": ["person", "a\x00b"], "verbs": ["pet"]}, "classes.json: the name 'a\\x00b'"),
        ({"objects": ["person", "\ud800"], "verbs": ["pet"]}, "which no label can have"),
    ],
)
def test_what_no_labels_can_be_made_of(tmp_path, classes, message):
    with pytest.raises(UserError) as caught:
        label_config.print_config(write(tmp_path, classes))
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own code
def test_label_studios_own_parser_takes_it(tmp_path):
    """And a relation made by it is one that is read."""
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    vocabulary = vocabularies.load("figures_hoi")
    interface = sdk.LabelInterface(label_config.labeling_config(vocabulary))
    interface.validate()
    control = interface.get_control("label")
    assert control.tag == "RectangleLabels" and tuple(control.labels) == vocabulary.objects
    box = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    person, dog = (control.label(label=label, **box) for label in ("person", "dog"))
    dog.add_relation(region=person, direction="left", label=["pet", "walk"])
    results = [person._dict(), dog._dict(), *dog._dict_relations()]
    assert interface.validate_relation(results[2], results[:2])
    task = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": results}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    (image,) = Export.read(str(tmp_path / "export.json")).images
    (pair,) = image.relations
    assert (pair.subject, pair.object, pair.verbs) == (0, 1, ("pet", "walk"))
    assert [region.corners for region in image.regions] == [(10, 20, 30, 40)] * 2

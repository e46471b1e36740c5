"""Exports of Label Studio: people and objects as rectangles, verbs as labels of their relations.

Read against the sources of Label Studio 1.23.2 and label-studio-sdk 2.1.2: `RelationStore.js`
writes a relation as

    {"from_id": ..., "to_id": ..., "type": "relation", "direction": "right", "labels": ["ride"]}

with a direction of "right" (from the first region to the second; what a relation has when it is
drawn), "left" or "bi", and without "labels" where none was chosen; `RectRegion.jsx` and `Image.js`
write a rectangle in percent of `original_width` and `original_height`, the size of the image as the
browser shows it (turned as its EXIF data say), clockwise rotated by `value.rotation` degrees around
its upper left corner. Turning the view (`image_rotation`) changes no numbers.

    export.py      the tasks of an export -> images with named boxes and relations
    regions.py     one annotation's results -> boxes and relations
    findings.py    what was left out or read otherwise, counted
    addresses.py   where a task's image lies in the user's folder
    convert.py     names -> ids, images -> PPDM's entries
    label_studio.py the TFDS builder
"""

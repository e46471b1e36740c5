"""What is in a data set, as numbers, text and an HTML page. NumPy alone; no data set is read here.

`data_pipelines.inspection` fills `columns.Inspection`; `sections.describe` turns it into sections,
which `text` and `page` write.
"""

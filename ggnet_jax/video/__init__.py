"""Videos, folders of frames and cameras in; annotated MP4 files out.

PyAV, whose wheels bring FFmpeg, does the work: `pip install av`.
"""

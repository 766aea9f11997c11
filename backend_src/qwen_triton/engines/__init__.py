"""Engines: what turns token ids into token ids, and how a model reaches one.

The protocol (engine), the way to one (link), who honours what (capabilities), the form of options (option) and the table of
kinds (kinds) lie here; each kind of engine has a folder of its own, the only place that imports its library. Knows no
text and no Triton Python API. Imports from errors, types, checkpoint, tensors, kserve and model_config.
"""

"""Engines: what turns token ids into token ids, each in a process of its own behind one protocol."""

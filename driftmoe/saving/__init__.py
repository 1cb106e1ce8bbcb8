"""Models on disk: one file without code, from which a model goes on as if nothing had happened.

`codec` turns a state into JSON and arrays, and back; it knows nothing of models. `files` gives both the form of a file
and checks it before anything is built.
"""

"""The command `lle`, and in a wheel the home of what it runs.

The repository keeps `pipelines/` and `cluster/` at its top, so that `python pipelines/train.py` works in a checkout. At
the top of somebody's site-packages such common names would be in the way of others, and others' in ours; so the wheel
holds them as `lle_platform/path/pipelines` and `lle_platform/path/cluster`, where nobody finds them by accident. The
command puts that one folder first on its own path, and through PYTHONPATH on that of the processes it starts, Ray and
its workers among them; the code says `import pipelines` wherever it lies. (Ray also tells workers on other machines the
driver's path: a cluster of wheels needs them at the same place everywhere, as in one image.)

In a checkout, installed by `pip install -e .`, the same command finds the two folders beside this one.
"""

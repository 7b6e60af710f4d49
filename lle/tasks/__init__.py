"""Networks of tasks downstream, whose eyes a training may borrow (`objective.task`): faces, and things in general.

Each is a torch module that is called with enhanced and wanted pictures, RGB in [0, 1], (B, 3, H, W), and gives one
number, a mean over pictures, 0 for equal ones.
"""

"""Spot machines first, on-demand ones where there are none: how Ray's launcher chooses a kind of node.

Ray asks for the same kind again and again, even if the cloud has no such machine. The head's environment names this
function as RAY_AUTOSCALER_UTILIZATION_SCORER (ray_cluster.yaml), and the launcher takes the kind it scores highest.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def prefer_spot(
    node_resources: dict[str, Real],
    resources: list[dict[str, Real]],
    node_type: str,
    *,
    node_availability_summary: NodeAvailabilitySummary,
) -> tuple[Any, ...] | None:
    """Ray's own score, but among nodes that suit the work as well, one that could be had lately and is spot wins.

    Args:
        node_resources: what a node of this kind offers, by name.
        resources: what waits for a place.
        node_type: the kind; `spot` in its name means that it is one.
        node_availability_summary: which kinds could not be had in the last 30 minutes.

    Returns:
        Something to compare by, more is better; None where nothing fits.
    """
    score = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    suits_gpu, matching, *utilisation = score
    record = node_availability_summary.node_availabilities.get(node_type)
    return suits_gpu, matching, record is None or record.is_available, "spot" in node_type, *utilisation

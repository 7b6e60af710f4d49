"""OpenStack Swift with its S3 interface as four small processes on loopback: one disk, one copy, nothing in /etc."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.storage import DEFAULT_REGION

SERVERS = {
    "swift-account": "swift.account.server",
    "swift-container": "swift.container.server",
    "swift-object": "swift.obj.server",
    "swift-proxy": "swift.proxy.server",
}
DEVICE = "disk"
PART_POWER = 4
PIPELINE = (
    "catch_errors gatekeeper healthcheck listing_formats s3api tempauth copy container_quotas slo dlo versioned_writes "
    "symlink proxy-server"
)
PATIENCE = 60  # seconds one server waits for another: on a busy machine a late listing would otherwise stay behind


@dataclass(frozen=True)
class Account:
    """What the configuration of a Swift needs to be the same at each start."""

    hash_prefix: str
    hash_suffix: str
    users: Mapping[str, tuple[str, str]]  # ACCOUNT:USER -> key, rights


def configure(folder: Path, account: Account, ports: Mapping[str, int]) -> dict[str, Sequence[str]]:
    """Write configuration and rings; gives the command of each server.

    Args:
        folder: takes configuration and data.
        account: hash and users.
        ports: of the four SERVERS.

    Raises:
        OSError: the file system of the folder keeps no extended attributes, in which Swift keeps its metadata.
    """
    data = folder / "data"
    (data / DEVICE).mkdir(parents=True, exist_ok=True)
    _try_attributes(data / DEVICE)
    common = {
        "swift_dir": folder,
        "devices": data,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "bind_ip": "127.0.0.1",
        "workers": 0,
        "mount_check": "false",
        "disable_fallocate": "true",
        "fallocate_reserve": 0,
        "log_level": "WARNING",
        "conn_timeout": PATIENCE,
        "node_timeout": PATIENCE,
        "container_update_timeout": PATIENCE,
    }
    _write(
        folder / "swift.conf",
        {
            "swift-hash": {
                "swift_hash_path_prefix": account.hash_prefix,
                "swift_hash_path_suffix": account.hash_suffix,
            },
            "swift-constraints": {"min_segment_size": 1},
        },
    )
    for kind in ("account", "container", "object"):
        name = f"swift-{kind}"
        _write(
            folder / f"{name}.conf",
            {
                "DEFAULT": {**common, "bind_port": ports[name]},
                "pipeline:main": {"pipeline": f"{kind}-server"},
                f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
            },
        )
        _write_ring(folder, kind, ports[name])
    _write(folder / "swift-proxy.conf", _proxy(common, account, ports["swift-proxy"]))
    return {name: (sys.executable, "-m", SERVERS[name], str(folder / f"{name}.conf"), "-v") for name in SERVERS}


def _proxy(common: Mapping[str, object], account: Account, port: int) -> dict[str, Mapping[str, object]]:
    settings: dict[str, dict[str, object]] = {
        "s3api": {"location": DEFAULT_REGION},
        "tempauth": {
            f"user_{user.replace(':', '_')}": f"{key} {rights}" for user, (key, rights) in account.users.items()
        },
        "slo": {"allow_async_delete": "false"},  # nobody would come to delete the parts later
    }
    return {
        "DEFAULT": {**common, "bind_port": port},
        "pipeline:main": {"pipeline": PIPELINE},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "account_autocreate": "true",
            "recoverable_node_timeout": PATIENCE,
            "error_suppression_limit": 1_000_000,  # there is no other node to turn to
        },
        **{f"filter:{name}": {"use": f"egg:swift#{name}", **settings.get(name, {})} for name in PIPELINE.split()[:-1]},
    }


def _write(file: Path, sections: Mapping[str, Mapping[str, object]]) -> None:
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in values.items()), ""]
    file.touch(mode=0o600)
    file.write_text("\n".join(lines), encoding="utf-8")


def _write_ring(folder: Path, kind: str, port: int) -> None:
    from swift.common.ring import RingBuilder

    builder = RingBuilder(part_power=PART_POWER, replicas=1, min_part_hours=0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": DEVICE, "weight": 1.0})
    builder.rebalance(seed="0")
    builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


def _try_attributes(folder: Path) -> None:
    probe = folder / ".probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.swift.probe", b"1" * 1000)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()

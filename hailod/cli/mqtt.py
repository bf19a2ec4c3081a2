"""`hailod mqtt purge`: removes every retained trace of a node from the broker.

Exit codes: 0 nothing is left, 1 not removed (the node is online, it was not confirmed, or something is still there),
2 wrong usage, 4 the broker cannot be reached.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from hailod.cli import EXIT_FAILED, EXIT_USAGE, add_config_option
from hailod.cli.ctl import EXIT_NO_BROKER, UsageError, broker, node_name
from hailod.clock import SystemClock
from hailod.mqtt.caller import BrokerTrouble
from hailod.mqtt.purge import Purge

_EPILOG = """\
What a node told and the broker kept stays there when the node is gone for good or has got another name, and Home
Assistant shows it for ever. This finds all of it: the node's own topics, its devices and entities in Home Assistant's
discovery and, where [frigate] is enabled or --frigate is given, its counts. Nothing of other nodes is touched.

examples:
  hailod mqtt purge --node old-name --dry-run
  hailod mqtt purge --node old-name --yes

A node that is online is left alone: it would only tell everything again. Stop it first, or take --force.
The broker and its password are found as by `hailod ctl`.

exit codes: 0 nothing is left, 1 not removed, 2 wrong usage, 4 no broker, 78 the configuration cannot be used
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    purge = actions.add_parser(
        "purge",
        help="remove every retained trace of a node from the broker",
        description="Removes every retained trace of a node from the broker.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # --password must not be taken for --password-file.
        allow_abbrev=False,
    )
    purge.add_argument("--yes", action="store_true", help="do not ask")
    purge.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    purge.add_argument("--force", action="store_true", help="also if the node is online")
    purge.add_argument("--frigate", metavar="PREFIX", type=node_name, help="the prefix of its Frigate topics")
    add_config_option(purge)
    purge.add_argument("--node", type=node_name, help="the node (default: the configured one)")
    purge.add_argument("--host", help="the broker, in the place of the configured one")
    purge.add_argument("--port", type=int, help="its port (default: 1883)")
    purge.add_argument("--username", help="the user to log in as")
    purge.add_argument("--password-file", type=Path, metavar="FILE", help="a file that holds the user's password")


def run(args: argparse.Namespace) -> int:
    return purge(args, os.environ)


def purge(args: argparse.Namespace, env: Mapping[str, str]) -> int:
    """List, ask, remove, look again. Raises ConfigError."""
    try:
        place = broker(args, env)
    except UsageError as error:
        print(f"hailod mqtt purge: {error}; see hailod mqtt purge --help", file=sys.stderr)
        return EXIT_USAGE
    prefix = args.frigate or (place.frigate.prefix if place.frigate.enabled else None)
    cameras = place.cameras if args.node in (None, place.configured_node) else ()
    try:
        with Purge(place.mqtt, place.node, SystemClock(), frigate=prefix) as work:
            return _purge(args, place.node, work, cameras)
    except BrokerTrouble as error:
        print(f"hailod mqtt purge: {error}; {error.fix}", file=sys.stderr)
        return EXIT_NO_BROKER


def _purge(args: argparse.Namespace, node: str, work: Purge, cameras: Iterable[str]) -> int:
    found = work.find(cameras)
    for topic, size in found.items():
        print(f"  {_printable(topic)}  ({size} bytes)")
    print(f"{len(found)} retained messages of node {node}")
    if args.dry_run or not found:
        return 0
    refusal = None
    if work.online and not args.force:
        refusal = f"node {node} is online: stop it first, or take --force"
    elif not args.yes and not _confirmed(node):
        refusal = "not confirmed, nothing was removed"
    if refusal is not None:
        print(f"hailod mqtt purge: {refusal}", file=sys.stderr)
        return EXIT_FAILED
    left = work.clear(list(found))
    for topic in left:
        print(f"hailod mqtt purge: still there: {_printable(topic)}", file=sys.stderr)
    if left:
        print("hailod mqtt purge: is the node online, or may this user not write there?", file=sys.stderr)
        return EXIT_FAILED
    print(f"removed; the broker holds nothing of node {node} any more")
    return 0


def _confirmed(node: str) -> bool:
    """Whether a person types yes; whoever cannot be asked has not."""
    print(f"remove all of it? type the node's name ({node}): ", end="", flush=True)
    return sys.stdin.readline().strip() == node


def _printable(topic: str) -> str:
    """What comes from the network could move the cursor otherwise."""
    return "".join(character if character.isprintable() else "?" for character in topic)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""attacks.py BEFORE AFTER ATTACKS: whether a gateway's drops grew by exactly what probe.py sent, reason by reason.

BEFORE and AFTER are the gateway's status; ATTACKS is what probe.py printed in between. Garbage is random, so only its
number is known: then the drops have to be that many more in all.
"""

import collections
import json
import sys

from status import drops, load

HELLO_SIZE, DATA_MIN, EMPTY_SIZE = 1200, 26, 25


def runts(sent):
    """HELLO and DATA cut at every length, CLIENT_ACK and KEEPALIVE as well, BYE too short; and each of them too long.

    DATA is cut behind its shortest length too, where only its tag can tell.
    """
    runt = HELLO_SIZE + DATA_MIN + 2 * EMPTY_SIZE + 1
    oversized = 3 + 2 + 1
    return {"runt": runt, "oversized": oversized, "forged": sent - runt - oversized}


def forge(sent):
    """Bits of the header: 4 of the epoch, which is 1, so that one of them makes it 0, which is WireGuard's, and no type of it;
    4 of the type (BYE and KEEPALIVE have one length; two are unknown), 32 of the ID."""
    return {
        "unknown_epoch": 3,
        "oversized": 2,
        "type": 3,
        "unknown_session": 32,
        "forged": sent["counter"] + sent["ciphertext"] + sent["tag"],
    }


ATTACKS = {
    "runts": lambda line: runts(line["sent"]),
    "forge": lambda line: forge(line["sent"]),
    "wrong-version": lambda line: {"version": line["sent"] - 1, "oversized": 1},  # 0 is an initiation of WireGuard's
    "replay": lambda line: {"replay": 2},
    "reorder": lambda line: {"replay": 1},
    "sparse": lambda line: {"forged": line["sent"]["forged"], "replay": line["sent"]["copies"]},
    "spoof": lambda line: {"inner_source": line["sent"]["source"], "inner_malformed": line["sent"]["length"]},
    "stale-hello": lambda line: {"stale": 1},
    "unknown-peer": lambda line: {"unknown_peer": 3},
    "wrong-psk": lambda line: {},  # an honest HELLO; it is WELCOME that the sender cannot open
    "bye": lambda line: {"unknown_session": 1},  # followed by DATA of the session that is no more
    "garbage": lambda line: {"any": line["sent"]},
}


def main(before, after, attacks):
    expected = collections.Counter()
    with open(attacks, encoding="utf-8") as file:
        for line in map(json.loads, file):
            expected.update(ATTACKS.get(line["action"], lambda _: {})(line))
    grown = collections.Counter(drops(load(after), "uplink"))
    grown.subtract(drops(load(before), "uplink"))
    grown = +grown
    same = sum(grown.values()) == sum(expected.values()) if "any" in expected else grown == expected
    print(f"sent {dict(expected)}, dropped {dict(grown)}")
    sys.exit(not same)


main(*sys.argv[1:])

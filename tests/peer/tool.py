# SPDX-License-Identifier: Apache-2.0
"""What both modes of probe.py share: keys, options, output."""

import base64
import json

import sparse
import wire
from shardtun_peer import NO_PSK


def read_key(text):
    key = base64.b64decode(text.strip(), validate=True)
    if len(key) != 32:
        raise ValueError("a key is 32 bytes in base64")
    return key


def read_key_file(path):
    with open(path, encoding="ascii") as file:
        return read_key(file.read())


def read_endpoint(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def say(**fields):
    print(json.dumps(fields), flush=True)


def sparse_figures(side):
    """How many DATA_SPARSE a Client or Gateway sent and received."""
    return {"sent": side.sparse.sent, "received": side.sparse.received}


def add_common(parser):
    parser.add_argument("--key", required=True, metavar="FILE", help="own private key, base64")
    parser.add_argument("--psk", metavar="FILE", help="pre-shared key, base64")
    parser.add_argument("--suite", type=int, choices=(1, 2), help="1 AES-256-GCM, 2 ChaCha20-Poly1305; else both")
    parser.add_argument("--mtu", type=int, default=1420)
    parser.add_argument("--capabilities", type=lambda text: int(text, 0), default=sparse.CAPABILITIES, metavar="BITS",
                        help="1 takes DATA_SPARSE, 2 marks it; 0 as before there were any")


def load_keys(options):
    """Reads the files that --key and --psk name into `static` and `psk_bytes`."""
    options.static = read_key_file(options.key)
    options.psk_bytes = read_key_file(options.psk) if options.psk else NO_PSK


def offered_suites(options):
    return (options.suite,) if options.suite else (wire.AES_256_GCM, wire.CHACHA20_POLY1305)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""etcd_fill.py URL CA USER PASSWORD COUNT: writes so many peers under /shardtun/peer/, 128 in a transaction."""

import base64
import json
import ssl
import sys
import urllib.request


def post(url, path, body, context, token=None):
    headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        return json.load(answer)


def text(value):
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def peer(index):
    key = base64.b64encode(index.to_bytes(32, "big")).decode()
    value = {"version": 1, "name": f"peer-{index}", "index": index, "networks": [f"10.{index >> 16}.{index >> 8 & 255}.0/24"],
             "protocol": "wireguard" if index % 2 else "shardtun", "rate_up": 1000000, "rate_down": 2000000, "quota": 0,
             "psk": text(index.to_bytes(72, "little"))}
    return {"request_put": {"key": text("/shardtun/peer/" + key), "value": text(json.dumps(value))}}


def main():
    url, ca, user, password, count = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    token = post(url, "/v3/auth/authenticate", {"name": user, "password": password}, context)["token"]
    for first in range(1, int(count) + 1, 128):
        operations = [peer(index) for index in range(first, min(first + 128, int(count) + 1))]
        post(url, "/v3/kv/txn", {"success": operations}, context, token)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""etcd_fill.py URL CA USER PASSWORD COUNT [real]: writes so many peers below /shardtun/, in transactions of at most 128 keys.

With "real" they are such as a real gateway takes, each with the key of its index, from 2 on: nothing is sealed, and every hundredth has a network. Without,
all have one of each member, for a gateway that takes what it gets.
"""

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


def put(name, value):
    return {"request_put": {"key": text("/shardtun/" + name), "value": text(json.dumps(value))}}


def members(index):
    key = base64.b64encode(index.to_bytes(32, "big")).decode()
    value = {"version": 1, "name": f"peer-{index}", "index": index, "networks": [f"10.{index >> 16}.{index >> 8 & 255}.0/24"],
             "protocol": "wireguard" if index % 2 else "shardtun", "rate_up": 1000000, "rate_down": 2000000, "quota": 0,
             "psk": text(index.to_bytes(72, "little"))}
    return key, value


def peer(index):
    key, value = members(index)
    return [put("peer/" + key, value)]


def real_peer(index):
    key, value = members(index + 1)
    networks = [] if index % 100 else [f"10.{100 + (index // 100 >> 8)}.{index // 100 & 255}.0/24"]
    for member in "psk", "quota":
        del value[member]
    value |= {"networks": networks, "rate_up": "8M", "rate_down": "16M"}
    return [put("peer/" + key, value), put(f"index/{index + 1}", {"version": 1, "key": key})]


def main():
    url, ca, user, password, count = sys.argv[1:6]
    make = real_peer if len(sys.argv) == 7 else peer
    context = ssl.create_default_context(cafile=ca)
    token = post(url, "/v3/auth/authenticate", {"name": user, "password": password}, context)["token"]
    operations = [put("next", {"version": 1, "next": int(count) + 2})]
    for index in range(1, int(count) + 1):
        operations += make(index)
        if len(operations) > 126 or index == int(count):
            post(url, "/v3/kv/txn", {"success": operations}, context, token)
            operations = []


if __name__ == "__main__":
    if len(sys.argv) != 6 and sys.argv[6:] != ["real"]:
        sys.exit(__doc__)
    main()

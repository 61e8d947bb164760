#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a handshake of the WireGuard protocol, computed from the paper by hashlib and python3-cryptography (OpenSSL),
without this project's code: tests/vectors/wireguard.py | clang-format > tests/vectors/wireguard.h

Names are those of Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", 5.4.
"""
import hashlib
import hmac as hmac_module
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"


def some_bytes(label, size):
    return hashlib.shake_256(label.encode()).digest(size)


def dh(private, public):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def public_of(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def aead(key, counter, plain, data):
    return ChaCha20Poly1305(key).encrypt(struct.pack("<IQ", 0, counter), plain, data)


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03, 2.2."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for add, mix, by, bits in ((a, d, b, 16), (c, b, d, 12), (a, d, b, 8), (c, b, d, 7)):
            state[add] = state[add] + state[by] & 0xFFFFFFFF
            word = state[mix] ^ state[add]
            state[mix] = (word << bits | word >> 32 - bits) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, i + 4, i + 8, i + 12)
        for i in range(4):
            quarter(i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12)
    return struct.pack("<8I", *state[:4], *state[12:])


def xaead(key, nonce, plain, data):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plain, data)


def hash_of(data):
    return hashlib.blake2s(data).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def kdf(n, key, data):
    def hmac(k, d):
        return hmac_module.new(k, d, hashlib.blake2s).digest()

    secret, last, out = hmac(key, data), b"", []
    for i in range(n):
        last = hmac(secret, last + bytes([i + 1]))
        out.append(last)
    return out


names = {}
for name in ("initiator_static", "responder_static", "initiator_ephemeral", "responder_ephemeral", "psk"):
    names[name] = some_bytes("WireGuard " + name, 32)
spriv_i, spriv_r, epriv_i, epriv_r, psk = names.values()
spub_i, spub_r, epub_i, epub_r = map(public_of, (spriv_i, spriv_r, epriv_i, epriv_r))
timestamp = struct.pack(">QI", 0x400000000000000A + 1234567890, 16 << 24)
index_i, index_r = bytes.fromhex("5a0c0007"), bytes.fromhex("312e9f3c")
cookie, nonce = some_bytes("WireGuard cookie", 16), some_bytes("WireGuard nonce", 24)

initial_chaining_key = c = hash_of(CONSTRUCTION)
initial_hash = h = hash_of(c + IDENTIFIER)

# 5.4.2
h = hash_of(h + spub_r)
(c,) = kdf(1, c, epub_i)
initiation = b"\x01\0\0\0" + index_i + epub_i
h = hash_of(h + epub_i)
c, key = kdf(2, c, dh(epriv_i, spub_r))
static = aead(key, 0, spub_i, h)
h = hash_of(h + static)
c, key = kdf(2, c, dh(spriv_i, spub_r))
sealed = aead(key, 0, timestamp, h)
h = hash_of(h + sealed)
initiation += static + sealed
initiation_mac1 = mac(hash_of(b"mac1----" + spub_r), initiation)
initiation_mac2 = mac(cookie, initiation + initiation_mac1)

# 5.4.3
(c,) = kdf(1, c, epub_r)
response = b"\x02\0\0\0" + index_r + index_i + epub_r
h = hash_of(h + epub_r)
(c,) = kdf(1, c, dh(epriv_r, epub_i))
(c,) = kdf(1, c, dh(epriv_r, spub_i))
c, t, key = kdf(3, c, psk)
h = hash_of(h + t)
response += aead(key, 0, b"", h)
response_mac1 = mac(hash_of(b"mac1----" + spub_i), response)
response_mac2 = mac(cookie, response + response_mac1)

# 5.4.5, 5.4.6
send, receive = kdf(2, c, b"")
plain = some_bytes("WireGuard data", 96)
counter = 0x0123456789ABCDEF
data = b"\x04\0\0\0" + index_r + struct.pack("<Q", counter) + aead(send, counter, plain, b"")

# 5.4.7
reply = b"\x03\0\0\0" + index_i + nonce
reply += xaead(hash_of(b"cookie--" + spub_r), nonce, cookie, initiation_mac1)

assert (len(initiation) + 32, len(response) + 32, len(reply), len(data)) == (148, 92, 64, 128)
names.update(
    initiator_public=spub_i,
    responder_public=spub_r,
    timestamp=timestamp,
    initiator_index=index_i,
    responder_index=index_r,
    cookie=cookie,
    nonce=nonce,
    initial_chaining_key=initial_chaining_key,
    initial_hash=initial_hash,
    initiation=initiation + initiation_mac1 + bytes(16),
    initiation_mac2=initiation_mac2,
    response=response + response_mac1 + bytes(16),
    response_mac2=response_mac2,
    cookie_reply=reply,
    initiator_to_responder=send,
    responder_to_initiator=receive,
    plaintext=plain,
    data=data,
)


def hex_lines(text):
    return " ".join(f'"{text[i : i + 88]}"' for i in range(0, len(text), 88))


print(
    f"""// SPDX-License-Identifier: Apache-2.0
/* Written by tests/vectors/wireguard.py; change that instead. Everything but the counter is hexadecimal; the timestamp is
 * that of 2009-02-13 23:31:30 UTC and 2^28 ns. */
#pragma once

static const struct {{
	const char *{", *".join(names)};
	uint64_t counter;
}} wireguard_vector = {{"""
)
for name, value in names.items():
    print(f".{name} = {hex_lines(value.hex())},")
print(f".counter = {counter:#x},\n}};")

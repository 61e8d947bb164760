// SPDX-License-Identifier: Apache-2.0
/* The handshake of the WireGuard protocol as messages: layout, MACs and Noise put together, for both sides. Donenfeld,
 * "WireGuard: Next Generation Kernel Network Tunnel", 5.4; the hash, cipher and pattern are crypto/noise.h's.
 *
 * Pure like that: no socket, no clock, no table; random bytes and times come from the caller. Each side's state is a
 * plain value with secrets in it; a failed read leaves it as it was. Any thread.
 *
 *   initiator                          responder
 *   wg_write_initiation  ------------> wg_check_mac1, under load wg_check_mac2 or else wg_write_cookie_reply
 *                                      wg_read_static      (its static key)
 *                                      wg_read_timestamp   (proof of it, and its order)
 *   wg_read_response     <------------ wg_write_response
 *
 * Messages that are read have passed wg_type(). A response has the same MACs as an initiation, and a peer under load
 * may answer it with a cookie as well.
 *
 * Identities and remotes have the own protocol's form (core/protocol/handshake.h), with keys from WireGuard's labels.
 * No key pair is used for both protocols: Noise, revision 34, section 14. */
#pragma once

#include "core/protocol/handshake.h"
#include "core/protocol/wg_wire.h"

/* This side's keys. The caller keeps them in locked memory. */
void wg_identity_init(struct handshake_identity *identity, const uint8_t private_key[KEY_SIZE]);

/* A peer's keys, for its initiator. `preshared_key`: all zero without one. False when the public key is no usable
 * point. Costs one DH. */
bool wg_remote_init(struct handshake_remote *remote, const struct handshake_identity *own,
		    const uint8_t public_key[KEY_SIZE], const uint8_t preshared_key[KEY_SIZE]);

/* --- both sides --------------------------------------------------------------------------------------------------- */

/* Whether mac1 of an initiation or response was made for this side's key: one hash. In constant time. */
bool wg_check_mac1(const struct handshake_identity *own, const uint8_t *message, size_t length);

/* Whether mac2 of an initiation or response shows that its sender receives what is sent to this address and port, as
 * crypto/cookie.h takes them: a cookie and a hash, twice when the cookie is not of this period. In constant time, but
 * for a mac2 of zeros, which is none. */
bool wg_check_mac2(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		   const uint8_t *message, size_t length);

/* Writes the cookie reply to an initiation or response, which needs no more than a right mac1. `cookie`: of
 * cookie_make_wg(). `nonce`: 24 fresh random bytes. */
void wg_write_cookie_reply(const struct handshake_identity *own, const uint8_t *message, size_t length,
			   const uint8_t cookie[COOKIE_SIZE], const uint8_t nonce[COOKIE_NONCE_SIZE],
			   uint8_t reply[WG_COOKIE_REPLY_SIZE]);

/* Reads a cookie reply to the message that this side sent with `index` as its sender and with this mac1. `cookie_key`:
 * the peer's, of wg_cookie_key(). False, with `cookie` as it was, when it answers another one or does not open. The
 * cookie serves the next messages for WG_COOKIE_S; the one that was answered is not sent again at once (6.6). */
bool wg_read_cookie_reply(const uint8_t cookie_key[KEY_SIZE], uint32_t index, const uint8_t mac1[MAC_SIZE],
			  const uint8_t reply[WG_COOKIE_REPLY_SIZE], uint8_t cookie[COOKIE_SIZE]);

/* Puts mac2 into an initiation or response. */
void wg_add_mac2(const uint8_t cookie[COOKIE_SIZE], uint8_t *message, size_t length);

/* --- timestamps --------------------------------------------------------------------------------------------------- */

/* TAI64N of a wall-clock time in ns since 1970, rounded down to a multiple of 2^24 ns (17 ms) within its second: it
 * need not tell the clock's phase. Byte order makes memcmp() order them. */
void wg_timestamp(uint8_t timestamp[WG_TIMESTAMP_SIZE], uint64_t wall_ns);

/* Whether an initiation with `timestamp` is newer than the newest that was accepted of the same peer; all zero: none
 * was. An equal one is not: it is a replay. */
static inline bool wg_timestamp_is_newer(const uint8_t timestamp[WG_TIMESTAMP_SIZE],
					 const uint8_t newest[WG_TIMESTAMP_SIZE])
{
	return memcmp(timestamp, newest, WG_TIMESTAMP_SIZE) > 0;
}

/* --- initiator ---------------------------------------------------------------------------------------------------- */

struct wg_initiator {
	struct noise_handshake noise;
	uint32_t index;		/* own */
	uint8_t mac1[MAC_SIZE]; /* of the initiation */
};

/* Writes an initiation of WG_INITIATION_SIZE bytes without mac2. `index`: what the peer puts into its answers.
 * `ephemeral_private`: KEY_SIZE fresh random bytes. False when a DH result is zero. */
bool wg_write_initiation(struct wg_initiator *initiator, const struct handshake_identity *own,
			 const struct handshake_remote *remote, uint32_t index,
			 const uint8_t timestamp[WG_TIMESTAMP_SIZE], const uint8_t ephemeral_private[KEY_SIZE],
			 uint8_t message[WG_INITIATION_SIZE]);

/* Reads the response to this initiation; its mac1 was checked. On true the secrets are filled, `*peer_index` is what
 * data to the peer carries, and the initiator is spent; on false it is unchanged. */
bool wg_read_response(struct wg_initiator *initiator, const struct handshake_remote *remote,
		      const uint8_t message[WG_RESPONSE_SIZE], uint32_t *peer_index, struct noise_keys *secrets);

/* --- responder ---------------------------------------------------------------------------------------------------- */

struct wg_responder {
	struct noise_handshake noise;
	uint32_t peer_index; /* what data to the peer carries */
};

/* Decrypts the initiator's static key: one DH. */
bool wg_read_static(struct wg_responder *responder, const struct handshake_identity *own,
		    const uint8_t message[WG_INITIATION_SIZE], uint8_t peer_key[KEY_SIZE]);

/* Decrypts the timestamp, which proves that the initiator owns its static key. `static_static` is noise_dh(own,
 * peer_key), which the caller caches for each peer. */
bool wg_read_timestamp(struct wg_responder *responder, const uint8_t static_static[KEY_SIZE],
		       const uint8_t message[WG_INITIATION_SIZE], uint8_t timestamp[WG_TIMESTAMP_SIZE]);

/* Writes a response without mac2 and yields the secrets; mac1 of the message is what wg_read_cookie_reply() takes.
 * `index`: what the initiator's data carries. `preshared_key`: all zero without one. `ephemeral`: used for nothing
 * else. False when a DH result is zero. On true the responder is spent, but for `peer_index`. */
bool wg_write_response(struct wg_responder *responder, const uint8_t preshared_key[KEY_SIZE], uint32_t index,
		       const struct noise_keypair *ephemeral, uint8_t message[WG_RESPONSE_SIZE],
		       struct noise_keys *secrets);

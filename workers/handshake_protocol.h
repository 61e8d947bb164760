// SPDX-License-Identifier: Apache-2.0
/* What differs between the protocols in the first message of a handshake, as a handshake thread takes it, and in
 * WireGuard's response to one of ours. All functions run on the handshake thread. Messages are of the right size for
 * their type. */
#pragma once

#include "workers/handshaker.h"

struct handshake_protocol {
	uint32_t size;	      /* of the message that begins a handshake */
	uint32_t cookie_size; /* of the answer that demands a cookie: not more than HANDSHAKER_COOKIE_MAX */

	/* Whether mac1 was made for our key: one hash. */
	bool (*check_mac1)(const struct handshaker *handshaker, const uint8_t *message);

	/* Whether mac2 was made with a cookie that this source was given. */
	bool (*source_proven)(const struct handshaker *handshaker, const struct endpoint *from, const uint8_t *message);

	/* Writes the answer that demands a cookie, to `answer`. `number`: of a numbered cookie; 0: the one of this
	 * period. */
	void (*write_cookie)(const struct handshaker *handshaker, const struct endpoint *from, const uint8_t *message,
			     uint64_t number, const uint8_t nonce[COOKIE_NONCE_SIZE], uint8_t *answer);

	/* The public-key work, after the checks above: nothing has an effect before the message proved authentic.
	 * Hands keys and answer to the session's worker, or says why not. */
	enum drop_reason (*answer)(struct handshaker *handshaker, const struct waiting_hello *waiting);
};

extern const struct handshake_protocol handshake_own, handshake_wireguard, handshake_wireguard_response;

/* Sends an initiation of ours, as an INBOX_INITIATE demands; nothing if the peer is gone. The worker demands another
 * one when no keys come of it. */
void handshaker_initiate(struct handshaker *handshaker, const struct inbox_message *request);

/* Takes a cookie reply to an initiation of ours that was not answered yet: our next one in WG_COOKIE_S proves by it
 * that we are there. DROP_NONE, or why not. */
enum drop_reason handshaker_take_cookie(struct handshaker *handshaker, const uint8_t *message);

/* mac2 of an initiation or response of `length` bytes, which is made with a cookie that its source was given; and the
 * cookie reply to one. */
bool handshaker_wireguard_proven(const struct handshaker *handshaker, const struct endpoint *from,
				 const uint8_t *message, size_t length);
void handshaker_wireguard_cookie(const struct handshaker *handshaker, const struct endpoint *from,
				 const uint8_t *message, size_t length, const uint8_t nonce[COOKIE_NONCE_SIZE],
				 uint8_t *answer);

/* Queues the answer that demands a cookie, to be sent in this turn; unless the source had too many while the thread is
 * behind. */
void handshaker_give_cookie(struct handshaker *handshaker, const struct handshake_protocol *protocol,
			    const struct endpoint *from, const uint8_t *message, uint64_t number);

/* Whether handshakes come faster than they are answered. */
bool handshaker_under_load(const struct handshaker *handshaker);

/* What the session's worker is told of a handshake whose first message came from here: all but key, MTU and answer,
 * which the caller fills in. NULL: no memory. */
struct inbox_message *handshaker_new_install(const struct registry_grant *grant, const struct endpoint *from);

/* Hands it to the session's worker, which owns it from here. */
void handshaker_post(struct handshaker *handshaker, struct inbox_message *message);

/* Sends a message that began a handshake with a peer of a block that is not ours to the block's owner; what came by
 * FORWARD is not sent on. Returns whether it is on its way. */
bool handshaker_forward(struct handshaker *handshaker, const struct waiting_hello *waiting, const struct peer *peer);

/* A handshake that came to nothing. */
struct handshake_refusal {
	const struct endpoint *from;
	const uint8_t *client_key; /* KEY_SIZE bytes */
	const struct peer *peer;   /* NULL: not known */
	const char *protocol;	   /* if it is another than our own; constant text */
	uint32_t session_id;	   /* that the client named; 0: none */
	bool other_protocol;	   /* the key is listed, as that of a peer with another protocol */
	enum drop_reason reason;
};

/* An event for the operator, if the reason is one that an operator may have to act on. */
void handshaker_tell_refused(struct handshaker *handshaker, const struct handshake_refusal *refusal);

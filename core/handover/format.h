// SPDX-License-Identifier: Apache-2.0
/* What stands in the memory of a hand-over: a head, then records one behind the other, each a multiple of 8 bytes long.
 *
 *   gateway   once, the first: what has to be the same in both processes, and the gateway's own state
 *   slots     for each worker: the session IDs that are free, the one that is free for the longest first
 *   resting   once: addresses that were released, the one that was first
 *   peer      of each peer that has any state
 *   usage     of each quota's record
 *   counter   of each that is not 0
 *   session   of each session, with its keys, and for keys in use the replay window
 *
 * Both processes run on one machine, so numbers are as the machine has them, and times are of its one monotonic clock.
 * HANDOVER_VERSION changes with any struct here: another version is refused, before anything is handed over. The
 * checksum is for damage, not against attackers: the memory never leaves the hands of one user. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/base/calendar.h"
#include "core/sessions/freshness.h"
#include "crypto/aead.h"
#include "crypto/keys.h"
#include "crypto/replay.h"

enum { HANDOVER_VERSION = 1 };
#define HANDOVER_MAGIC "shardtun"

enum {
	HANDOVER_MAGIC_SIZE = 8,
	HANDOVER_CHECKSUM_SIZE = 16, /* as handover_checksum() has it */
	HANDOVER_NAME_MAX = 48,	     /* of a counter, with its terminator */
	HANDOVER_WINDOW_WORDS = REPLAY_WINDOW / 64 + 1,
};

/* Which of the two processes owns the sessions: tests/model/takeover.pml. */
enum handover_word {
	HANDOVER_OLD,
	HANDOVER_OFFERED,
	HANDOVER_NEW,
};

struct handover_head {
	uint8_t magic[HANDOVER_MAGIC_SIZE];
	uint32_t version;
	uint32_t records;
	uint64_t used; /* bytes, this head included */
	/* Of all before it, and of the records. */
	uint8_t checksum[HANDOVER_CHECKSUM_SIZE];
	/* Changes after the memory is complete: enum handover_word. */
	_Atomic uint32_t word;
	uint32_t reserved[5]; /* 0 */
};

enum handover_kind {
	HANDOVER_GATEWAY = 1,
	HANDOVER_SLOTS,
	HANDOVER_RESTING,
	HANDOVER_PEER,
	HANDOVER_USAGE,
	HANDOVER_COUNTER,
	HANDOVER_SESSION,
};

struct handover_record {
	uint32_t kind;
	uint32_t size; /* bytes, this included */
};

struct handover_gateway {
	struct handover_record record;
	uint32_t slot_mask, workers; /* of the session table */
	uint32_t pool_size;
	uint32_t base4, base6; /* as struct pool has them */
	uint32_t orders;
	uint8_t upper6[12];
	uint8_t family4, family6; /* 0: there is no such network */
	uint8_t reserved[2];
	uint64_t cookies, spent;
	uint64_t now;	 /* when it was written */
	uint64_t frozen; /* since when the data path stands still */
	uint8_t cookie_secret[KEY_SIZE];
};

struct handover_slots {
	struct handover_record record;
	uint32_t worker, count;
	uint32_t ids[]; /* of each free slot, the last one that was given */
};

struct handover_resting {
	struct handover_record record;
	uint32_t count, reserved;
	uint32_t indexes[];
};

struct handover_peer {
	struct handover_record record;
	uint8_t public_key[KEY_SIZE];
	uint64_t cookie, mark, at, proven_tat, newer_tat;
	uint32_t last_index;
	uint8_t proven;
	uint8_t last[WIRE_TIMESTAMP_SIZE], highest[WIRE_TIMESTAMP_SIZE];
	uint8_t reserved[3];
};

struct handover_usage {
	struct handover_record record;
	uint8_t public_key[KEY_SIZE];
	uint64_t used;
	uint32_t period, number, clock;
	uint8_t told; /* that it is used up */
	uint8_t reserved[3];
};

enum handover_counter_kind { HANDOVER_COUNTED, HANDOVER_DROPPED_UP, HANDOVER_DROPPED_DOWN };

struct handover_counter {
	struct handover_record record;
	uint32_t kind, reserved;
	uint64_t value;
	char name[HANDOVER_NAME_MAX]; /* as metrics have it */
};

struct handover_endpoint {
	uint8_t remote[16], local[16];
	uint32_t scope;
	uint16_t port;	 /* network order */
	uint16_t family; /* 0: none */
};

enum handover_key_bit { HANDOVER_CURRENT = 1, HANDOVER_PREVIOUS = 2, HANDOVER_NEXT = 4 };

/* Its keys follow in the order of their bits, each a struct handover_key. */
struct handover_session {
	struct handover_record record;
	uint32_t id, replaces, pool_index, order;
	uint32_t rekeys, roams, keepalive;
	uint16_t mtu, next_mtu;
	uint8_t state, keys;
	uint8_t reserved[6];
	uint64_t born, received, sent, data_moved, keyed, connected, next_born;
	uint64_t awaiting_reply_since, keepalive_owed_since;
	uint64_t path_deadline, path_credit, path_nonce;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t up_ready, down_ready; /* of the limits: when the next packet may go */
	struct handover_endpoint endpoint, proven, next_from;
	uint8_t peer[KEY_SIZE];
	uint8_t path_key[32];
};

enum handover_dialect { HANDOVER_OWN = 1, HANDOVER_WIREGUARD };

/* Two struct handover_window follow a key that is awake: of all types but DATA_SPARSE, and of that. */
struct handover_key {
	uint64_t send_counter, opened, first_opened, seen, born;
	uint32_t receiver;
	uint8_t dialect, suite, epoch, awake;
	uint8_t capabilities, initiated;
	uint8_t reserved[6];
	uint8_t seal_key[AEAD_KEY_SIZE], open_key[AEAD_KEY_SIZE];
	uint8_t seal_iv[AEAD_IV_SIZE], open_iv[AEAD_IV_SIZE];
};

struct handover_window {
	uint64_t next;
	uint64_t bitmap[HANDOVER_WINDOW_WORDS];
};

_Static_assert(sizeof(struct handover_head) == 64 && offsetof(struct handover_head, checksum) == 24, "no holes");
_Static_assert(sizeof(struct handover_gateway) == 112 && sizeof(struct handover_peer) % 8 == 0, "no holes");
_Static_assert(sizeof(struct handover_usage) == 64 && sizeof(struct handover_counter) == 72, "no holes");
_Static_assert(sizeof(struct handover_session) == 376 && sizeof(struct handover_key) == 144, "no holes");
_Static_assert(sizeof(((struct replay_window *)0)->bitmap) == sizeof(((struct handover_window *)0)->bitmap),
	       "as it is");

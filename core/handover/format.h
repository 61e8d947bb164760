// SPDX-License-Identifier: Apache-2.0
/* What stands in the memory of a hand-over: two parts, each a head and then records one behind the other, each a
 * multiple of 8 bytes long. The first is written while the old process serves:
 *
 *   gateway   once, the first: what has to be the same in both processes, and the gateway's own state
 *   session   of each session, with its keys, and for keys in use the replay windows
 *   slots     for each worker: the session IDs that are free, the one that is free for the longest first; and those
 *             whose sessions ended meanwhile
 *   resting   once: addresses that were released, the one that was first
 *   peer      of each peer that has any state
 *   usage     of each quota's record
 *
 * The second, from `second` on, is written when its data path stands still, and has what is another since the first:
 *
 *   moment    once, the first
 *   moved     of each session with anything that moved: all of that, and the words of the replay windows that changed
 *   gone      of each session that ended
 *   usage     of each quota's record
 *   counter   of each that is not 0
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

enum { HANDOVER_VERSION = 2 };
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
	uint64_t used; /* bytes of this part, this head included */
	/* Where the head of the second part is, bytes from here, and how long that part may be. In that one 0. */
	uint64_t second, second_room;
	/* Of all before it, and of the records. */
	uint8_t checksum[HANDOVER_CHECKSUM_SIZE];
	/* Changes after the memory is complete: enum handover_word. In the second part 0. */
	_Atomic uint32_t word;
	uint32_t reserved; /* 0 */
};

enum handover_kind {
	HANDOVER_GATEWAY = 1,
	HANDOVER_SLOTS,
	HANDOVER_RESTING,
	HANDOVER_PEER,
	HANDOVER_USAGE,
	HANDOVER_COUNTER,
	HANDOVER_SESSION,
	HANDOVER_MOMENT,
	HANDOVER_MOVED,
	HANDOVER_GONE,
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
	uint64_t now; /* when it was written */
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

/* Of a session, whatever may change without a handshake. */
struct handover_moving {
	uint64_t received, sent, data_moved, keyed, connected;
	uint64_t awaiting_reply_since, keepalive_owed_since;
	uint64_t path_deadline, path_credit, path_nonce;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t up_ready, down_ready; /* of the limits: when the next packet may go */
	uint32_t rekeys, roams;
	uint16_t mtu;
	uint8_t state, keys; /* enum handover_key_bit */
	uint32_t reserved;
	struct handover_endpoint endpoint, proven;
	uint8_t path_key[32];
};

/* Its keys follow in the order of their bits, each a struct handover_key. */
struct handover_session {
	struct handover_record record;
	uint32_t id, replaces, pool_index, order;
	uint32_t keepalive;
	uint16_t next_mtu;
	uint8_t reserved[2];
	uint64_t born, next_born;
	struct handover_endpoint next_from;
	uint8_t peer[KEY_SIZE];
	struct handover_moving moving;
};

enum handover_dialect { HANDOVER_OWN = 1, HANDOVER_WIREGUARD };

/* Of a key, the same. */
struct handover_counters {
	uint64_t send_counter, opened, first_opened, seen;
};

enum { HANDOVER_WINDOWS = 2 /* of a key that is awake: of all types but DATA_SPARSE, and of that */ };

/* So many struct handover_window follow a key that is awake. */
struct handover_key {
	struct handover_counters counters;
	uint64_t born;
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

struct handover_moment {
	struct handover_record record;
	uint64_t now;	   /* when it was written */
	uint64_t frozen;   /* since when the data path stands still */
	uint64_t sessions; /* records of them in the first part */
};

/* The session whose record is the `index`th of its kind, from 0 on; these records are in that order. Its keys follow in
 * the order of their bits, each a struct handover_moved_key: all were in the first part. */
struct handover_moved {
	struct handover_record record;
	uint32_t index, id;
	struct handover_moving moving;
};

/* Behind it are the words of its windows, if it is awake: `count` of each from `first` on, around the ring. The others
 * are as they were. */
struct handover_moved_key {
	struct handover_counters counters;
	uint64_t next[HANDOVER_WINDOWS];
	uint16_t first[HANDOVER_WINDOWS], count[HANDOVER_WINDOWS];
	uint8_t was; /* 0: the current key in the first part, 1: the previous one, 2: the next one */
	uint8_t awake;
	uint8_t reserved[6];
};

struct handover_gone {
	struct handover_record record;
	uint32_t index, id;
};

_Static_assert(sizeof(struct handover_head) == 64 && offsetof(struct handover_head, checksum) == 40, "no holes");
_Static_assert(sizeof(struct handover_gateway) == 104 && sizeof(struct handover_peer) % 8 == 0, "no holes");
_Static_assert(sizeof(struct handover_usage) == 64 && sizeof(struct handover_counter) == 72, "no holes");
_Static_assert(sizeof(struct handover_session) == 376 && sizeof(struct handover_key) == 144, "no holes");
_Static_assert(sizeof(struct handover_moving) == 256 && sizeof(struct handover_moment) == 32, "no holes");
_Static_assert(sizeof(struct handover_moved) == 272 && sizeof(struct handover_moved_key) == 64, "no holes");
_Static_assert(sizeof(((struct replay_window *)0)->bitmap) == sizeof(((struct handover_window *)0)->bitmap),
	       "as it is");

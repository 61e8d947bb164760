// SPDX-License-Identifier: Apache-2.0
/* What peers have used of their quotas, by public key. A record outlives its peer, so that one that is removed and
 * added again in the same period goes on where it was. There is one for a peer that has a quota and had a session, or
 * whose record was restored from a file.
 *
 * The worker that owns the peer's session adds to `used`, on a cache line of its own. All else is the control plane's,
 * under the table's mutex, which is taken after the registry's where both are.
 *
 * A record has a number that it keeps, its line in a file (core/gateway/quota_file.h). It is free for another peer when
 * a new period begins, and no peer points to it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/calendar.h"
#include "crypto/keys.h"

struct usage {
	/* bytes of inner packets that passed, both ways. The worker adds, the control plane sets it to 0; any thread
	 * may read */
	_Atomic uint64_t used CACHE_ALIGNED;
	_Atomic uint32_t peers; /* that point to it: usage_put() */

	/* the control plane's */
	uint8_t public_key[KEY_SIZE] CACHE_ALIGNED;
	uint64_t quota;	  /* bytes, of its peer's limits as they were last; 0: none yet */
	uint64_t written; /* `used`, as the file has it */
	/* Of the period that `used` belongs to; and what the clock said last, which is less after it was set back. */
	uint32_t number, clock;
	uint32_t next;	  /* in the bucket, or in the list of free ones: the number of the record and 1; 0: none */
	uint8_t period;	  /* enum calendar_period; CALENDAR_PERIODS: none yet */
	bool taken : 1;	  /* else it is free */
	bool present : 1; /* a peer has it, and a quota */
	bool changed : 1; /* to be written even if `used` is as it was */
	bool over : 1;	  /* it was used up when it was looked at last */
	bool told : 1;	  /* and that was logged */
};

enum { USAGE_CHUNK = 512 /* records */ };

struct usages {
	pthread_mutex_t mutex;
	struct usage **chunks;
	uint32_t count;	   /* records, free ones included */
	uint32_t free;	   /* as struct usage's `next` */
	uint32_t *buckets; /* as `next`; NULL: no record yet */
	uint32_t bucket_mask;
	uint8_t hash_key[16]; /* random, so that peers cannot choose keys that collide */
	uint32_t now[CALENDAR_PERIODS];
};

/* Sized for `expected` peers; it also takes more, with longer chains. After keys_init(). */
void usages_init(struct usages *usages, size_t expected);
/* No peer points to a record any more. */
void usages_deinit(struct usages *usages);

/* What the clock says, ns since 1970. */
void usages_set_clock(struct usages *usages, uint64_t wall);

/* The record of a key, which one peer more points to; `make`: a new one, where there is none. NULL: there is none, or
 * no memory for it. */
struct usage *usages_get(struct usages *usages, const uint8_t public_key[KEY_SIZE], bool make);

/* The peer is gone. Any thread. */
static inline void usage_put(struct usage *usage)
{
	(void)atomic_fetch_sub_explicit(&usage->peers, 1, memory_order_release);
}

/* The peer has this quota from now on; 0: none. Another kind of period begins at 0. */
void usages_follow(struct usages *usages, struct usage *usage, uint64_t quota, enum calendar_period period);

/* A line of a file, in the file's order: numbers follow it. */
struct usage_line {
	uint8_t public_key[KEY_SIZE];
	enum calendar_period period;
	uint32_t number, clock;
	uint64_t used;
};

/* 0; -EEXIST: the key was there before, the later of both counts and the line is free; or -ENOMEM. */
int usages_restore(struct usages *usages, const struct usage_line *line);

/* What another process counted: the record of the key has the later of both counts, and is to be written. 0 or -ENOMEM.
 */
int usages_take_over(struct usages *usages, const struct usage_line *line, bool told);

/* A line without a record: it is free. 0 or -ENOMEM. */
int usages_skip(struct usages *usages);

/* What became of a record with the clock. */
enum usage_turn {
	USAGE_SAME,
	USAGE_BEGAN, /* a new period: 0 is used */
	USAGE_FREED, /* a new period, and no peer */
	USAGE_BACK,  /* the clock was set back to an earlier one: what is used is kept */
};

/* The record follows the clock. In the callback of usages_visit(). */
enum usage_turn usage_follow_clock(struct usages *usages, uint32_t index, struct usage *usage);

/* Calls `visit` for the records from this number on, free ones too, and at most so many; under the mutex, which
 * handshakes wait for. Returns how many; 0 at the end. */
size_t usages_visit(struct usages *usages, uint32_t from, uint32_t most,
		    void (*visit)(uint32_t index, struct usage *usage, void *context), void *context);

/* Nothing is used. False: there is no record of the key. */
bool usages_reset(struct usages *usages, const uint8_t public_key[KEY_SIZE]);

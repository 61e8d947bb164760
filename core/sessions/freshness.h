// SPDX-License-Identifier: Apache-2.0
/* Which HELLOs of a peer are its newest, and which somebody recorded (core/protocol/PROTOCOL.md, Freshness).
 *
 * A gateway keeps nothing on a disk, so after its start it cannot tell the two apart by a timestamp. It asks each peer
 * for proof then: a cookie, which nobody had before the gateway gave it away. Cookies are numbered in the order in
 * which they were given, so what was accepted is the pair (number of the newest cookie, timestamp under it), and each
 * HELLO that is accepted raises it: none is accepted twice. From the proof on, a timestamp alone is proof enough as
 * long as it is above all before and the client's clock went on as time does.
 *
 * Pure; the caller has the lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/protocol/wire.h"

/* A clock that jumped ahead further than that asks for proof: a recording from before the gateway's start, made while
 * the client's clock ran ahead, is not newer than all others. Clocks are set by less, and none drifts by a second in
 * eight. */
#define FRESHNESS_JUMP_S 300
#define FRESHNESS_DRIFT	 8

enum freshness_verdict {
	FRESHNESS_STALE,
	FRESHNESS_NEWER,  /* by its timestamp: it may come from anywhere */
	FRESHNESS_PROVEN, /* by a cookie: its sender is where it came from, now */
};

struct freshness {
	uint64_t cookie;		   /* number of the newest cookie that counted; older ones count for nothing */
	uint64_t mark;			   /* a number from when the last HELLO was accepted */
	uint64_t at;			   /* when the last HELLO was accepted, monotonic ns */
	uint8_t last[WIRE_TIMESTAMP_SIZE]; /* its timestamp */
	uint8_t highest[WIRE_TIMESTAMP_SIZE]; /* of all: a client's clock may have been put back since */
	bool proven;			      /* at least once; else only a cookie is proof */
};

/* Whether a HELLO with this timestamp is newer than all before. `cookie`: the number of the valid cookie that it
 * carries; 0: none. `now`: monotonic ns. */
enum freshness_verdict freshness_judge(const struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE],
				       uint64_t cookie, uint64_t now);

/* A HELLO that was not stale is accepted: from now on it is. `mark`: above the numbers of all cookies that were given,
 * and below those that will be. */
void freshness_accept(struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t cookie,
		      uint64_t mark, uint64_t now);

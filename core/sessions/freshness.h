// SPDX-License-Identifier: Apache-2.0
/* Tells a new HELLO of a peer from a replayed one (core/protocol/PROTOCOL.md, Freshness).
 *
 * The gateway stores nothing on disk, so after a start it cannot tell the two apart by timestamp. Each peer's first
 * HELLO then needs a cookie, which did not exist before the gateway issued it. Cookies are numbered in the order of
 * issue. The state of a peer is the pair (number of the newest cookie, timestamp under it); each accepted HELLO raises
 * it, so none is accepted twice. After the first cookie a timestamp alone is enough, as long as it is above all before
 * and the client's clock advanced at the rate of the gateway's.
 *
 * Pure; the caller holds the lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/protocol/wire.h"

/* A timestamp that jumped ahead by more than this needs a cookie: it may be a replay from before the gateway's start,
 * recorded while the client's clock ran ahead. Clocks are adjusted by less, and none drifts by one second in eight. */
#define FRESHNESS_JUMP_S 300
#define FRESHNESS_DRIFT	 8

enum freshness_verdict {
	FRESHNESS_STALE,
	FRESHNESS_TOO_SOON, /* WireGuard's: it is new, but follows the last one within WG_INITIATION_INTERVAL_MS */
	FRESHNESS_NEWER,    /* by its timestamp: its source address is not proven */
	FRESHNESS_PROVEN,   /* by a cookie: its source address is proven */
};

struct freshness {
	uint64_t cookie;		      /* number of the newest cookie accepted; older ones are ignored */
	uint64_t mark;			      /* the cookie number at which the last HELLO was accepted */
	uint64_t at;			      /* when the last HELLO was accepted, monotonic ns */
	uint8_t last[WIRE_TIMESTAMP_SIZE];    /* its timestamp */
	uint8_t highest[WIRE_TIMESTAMP_SIZE]; /* of all: a client's clock may have been put back since */
	bool proven; /* a cookie was accepted once; until then a timestamp alone is not enough */
};

/* Whether a HELLO with this timestamp is newer than all before. `cookie`: the number of the valid cookie that it
 * carries; 0: none. `now`: monotonic ns. */
enum freshness_verdict freshness_judge(const struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE],
				       uint64_t cookie, uint64_t now);

/* Records an accepted HELLO: from now on it is stale. `mark`: above the numbers of all cookies issued so far, and below
 * those of later ones. */
void freshness_accept(struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t cookie,
		      uint64_t mark, uint64_t now);

/* --- WireGuard ---------------------------------------------------------------------------------------------------- */

/* A client that speaks WireGuard cannot show a cookie in what is authentic of its initiation: its timestamp alone is
 * compared with the last one, also by the first initiation after the gateway's start (Donenfeld, "WireGuard: Next
 * Generation Kernel Network Tunnel", 5.1). FRESHNESS_STALE, FRESHNESS_TOO_SOON or FRESHNESS_NEWER. */
enum freshness_verdict freshness_judge_wireguard(const struct freshness *freshness,
						 const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t now);

/* Records an accepted initiation. */
void freshness_accept_wireguard(struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE],
				uint64_t now);

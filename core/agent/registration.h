// SPDX-License-Identifier: Apache-2.0
/* Adding and deleting peers in etcd: peer/<key>, index/<n> and net/<prefix> in one transaction that holds only if none
 * of them is there, so that no index, and with it no address, has two peers.
 *
 * All of it connects to etcd as the settings say, and blocks until the call's limit at most. Errors: -EINVAL, a value
 * is wrong; -EEXIST, -ENOENT, -EPROTO as stated; -ECANCELED; another negative errno when etcd does not answer: then the
 * text says whether the change may have been made. Any thread, each call its own. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/agent/settings.h"

enum {
	REGISTRATION_NETWORKS_MAX = 32,
	REGISTRATION_RESERVED_MAX = 4,
	REGISTRATION_LIMIT_MS = 5000,
	REGISTRATION_WHY = 256,
};

/* Limits, as a configuration has them; NULL: not set. */
struct registration_limits {
	const char *rate_up, *rate_down, *burst, *quota, *quota_rate;
};

struct registration {
	const char *key;      /* base64 */
	const char *name;     /* NULL: none */
	const char *protocol; /* "shardtun" or "wireguard" */
	const char *networks[REGISTRATION_NETWORKS_MAX];
	size_t network_count;
	struct registration_limits limits;
	const char *psk; /* sealed, as core/cluster/sealed_psk.h has it; NULL: none */
	uint32_t index;	 /* of its address; 0: the next one that was never given */
};

/* What the gateways can give out; zeroed: as etcd has it, where an agent has written it. Else it is not known, but that
 * the first two are theirs. */
struct registration_pool {
	uint32_t size; /* indexes are below it; 0: not known */
	uint32_t reserved[REGISTRATION_RESERVED_MAX];
	size_t reserved_count;
};

struct registration_call {
	const struct agent_settings *settings;
	struct registration_pool pool;
	unsigned limit_ms;
	const _Atomic bool *cancelled; /* NULL: never */
};

/* Whether the values are such as a gateway takes. 0, or -EINVAL. */
int registration_check(const struct registration *peer, struct error *error);

/* *index is the peer's from then on. -EINVAL also: the pool has no such index for a peer; -EEXIST: peer, index or a
 * network is there already; -ENOSPC: no index is left; -EPROTO: a key is of a newer version. */
int registration_add(const struct registration_call *call, const struct registration *peer, uint32_t *index,
		     struct error *error);

/* Its index is not given again, unless it was named when the peer was added. -ENOENT: there is no such peer; -EPROTO:
 * its record is of a newer version, and is left alone. */
int registration_delete(const struct registration_call *call, const char *key, struct error *error);

/* --- many at once ------------------------------------------------------------------------------------------------- */

enum registration_fate {
	REGISTRATION_ADDED,   /* or, without writing, would be */
	REGISTRATION_PRESENT, /* was there before; `why` says what differs, and stays as it is, if anything does */
	REGISTRATION_REFUSED, /* `why` */
};

struct registration_result {
	enum registration_fate fate;
	uint32_t index; /* 0: not known, where nothing is written */
	char why[REGISTRATION_WHY];
};

/* Adds those that are not there, in transactions of at most ETCD_TXN_MAX operations, each within the call's limit.
 * Again is allowed: then they are there. Without `write` it only says what would be done. `results` are set up to where
 * it failed, and *done says how many these are. */
int registration_import(const struct registration_call *call, const struct registration *peers,
			struct registration_result *results, size_t count, bool write, size_t *done,
			struct error *error);

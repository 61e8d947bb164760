// SPDX-License-Identifier: Apache-2.0
/* Adding and deleting peers in etcd: peer/<key>, index/<n> and net/<prefix> in one transaction that holds only if none
 * of them is there, so that no index, and with it no address, has two peers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/agent/settings.h"

enum { REGISTRATION_NETWORKS_MAX = 32 };

struct registration {
	const char *key;      /* base64 */
	const char *name;     /* NULL: none */
	const char *protocol; /* "shardtun" or "wireguard" */
	const char *networks[REGISTRATION_NETWORKS_MAX];
	size_t network_count;
};

/* Connects to etcd as the settings say, and blocks: for 5 s at most for each request without an answer. *index is the
 * peer's from then on: the next one that was never given. 0; -EEXIST: the peer or a network is there already; -EINVAL:
 * a value is wrong; another negative errno when etcd does not answer: then it is not known whether the peer was added.
 */
int registration_add(const struct agent_settings *settings, const struct registration *peer, uint32_t *index,
		     struct error *error);

/* Its index is not given again. -ENOENT: there is no such peer. */
int registration_delete(const struct agent_settings *settings, const char *key, struct error *error);

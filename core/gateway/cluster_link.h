// SPDX-License-Identifier: Apache-2.0
/* The link between the gateways of a cluster (ClusterLink): a UDP socket from which handshake threads send FORWARD
 * (workers/forwarder.h), and where the control thread takes those of the other gateways. */
#pragma once

#include <stdatomic.h>

#include "config/config.h"
#include "core/base/error.h"
#include "workers/forwarder.h"

enum { CLUSTER_LINK_BATCH = 64 /* datagrams that are read at once; then others have their turn */ };

struct cluster_link_params {
	const struct config_endpoint *address; /* ours */
	const uint8_t *private_key;	       /* KEY_SIZE bytes, that all gateways share */
	const struct clock *clock;
	/* Hands a message to a handshake thread. */
	void (*take)(void *context, const struct forwarded *forwarded);
	void *context;
};

struct cluster_link {
	struct cluster_link_params params;
	struct forward_key *key; /* in locked memory */
	struct forward_guard *guard;
	struct forwarder forwarder;			 /* the handshake threads' */
	_Atomic uint64_t verdicts[FORWARD_REPEATED + 1]; /* the control thread's; any thread reads them */
};

/* Binds the socket, without an address none (fd -1). Start-up, before threads; -1 is no descriptor to wait for. */
int cluster_link_open(struct cluster_link *link, const struct cluster_link_params *params, struct error *error);

/* How many messages of the link had this verdict. Any thread. */
static inline uint64_t cluster_link_count(const struct cluster_link *link, enum forward_verdict verdict)
{
	return atomic_load_explicit(&link->verdicts[verdict], memory_order_relaxed);
}

/* All other threads ended. Also after a failed or no opening. */
void cluster_link_close(struct cluster_link *link);

/* Takes what came. Control thread, when forwarder.fd is readable. */
void cluster_link_poll(struct cluster_link *link);

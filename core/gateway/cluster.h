// SPDX-License-Identifier: Apache-2.0
/* A gateway in a cluster: which blocks of clients it serves, as its agent says (control commands cluster-*), and what
 * follows when a block comes or goes. The fence (core/cluster/fence.h) holds without this; here is what makes it
 * prompt, and what tells of it. Control thread. */
#pragma once

#include "core/cluster/fence.h"
#include "core/control/control.h"
#include "core/sessions/registry.h"

enum { CLUSTER_RELEASES = 16 /* that wait for an answer: as many as there are connections */ };

/* What cluster.c does to the rest of the gateway. */
struct cluster_effects {
	/* Has all workers look at the fence now. */
	void (*wake)(void *context);
	/* Whether nothing more leaves of what was taken away up to this version of the fence. */
	bool (*fenced)(void *context, uint64_t version);
	/* The set of blocks that are served is another one: routes follow. */
	void (*changed)(void *context);
	/* Nothing more of the block leaves: the answer to cluster_release(). */
	void (*released)(void *context, struct control_ticket ticket, unsigned block);
	void *context;
};

struct cluster_params {
	const char *node;
	struct fence *fence;
	const struct registry *registry;
	const struct clock *clock; /* whose monotonic() is CLOCK_BOOTTIME */
	struct cluster_effects effects;
};

struct cluster {
	struct cluster_params params;
	uint64_t instance;	 /* a number of this process that another one has not, not 0: it has no peers yet */
	struct block_set served; /* as it was logged last */
	int timer_fd;		 /* readable when cluster_step() is due */
	bool has_peers;		 /* from the agent: those of the configuration do not count any more */
	_Atomic uint64_t fences; /* any thread reads it: how often blocks were lost because their deadline was past */
	struct cluster_release {
		struct control_ticket ticket;
		unsigned block;
		uint64_t version;
	} releases[CLUSTER_RELEASES];
	size_t release_count;
};

/* Owns no block yet. */
int cluster_open(struct cluster *cluster, const struct cluster_params *params, struct error *error);
void cluster_close(struct cluster *cluster);

/* Exactly these blocks are ours until then, as fence_own() has it. -ERANGE: too far away. */
int cluster_own(struct cluster *cluster, const struct block_set *blocks, uint64_t until, struct error *error);

/* Whether another release may begin. */
static inline bool cluster_may_release(const struct cluster *cluster)
{
	return cluster->release_count < CLUSTER_RELEASES;
}

/* Serves the block no more; effects.released() follows from a later cluster_step() when nothing more of it leaves, also
 * when it was not served. After cluster_may_release(). */
void cluster_release(struct cluster *cluster, unsigned block, struct control_ticket ticket);

/* A deadline is past, or a release has to be looked at: when timer_fd is readable. */
void cluster_step(struct cluster *cluster);

/* The answer to the command cluster. NULL: no memory. */
json_t *cluster_describe(const struct cluster *cluster);

/* How many blocks are served now. Any thread. */
unsigned cluster_count(const struct cluster *cluster);

/* Blocks that are served now: [1,2,...]. NULL: no memory. */
json_t *cluster_blocks(const struct cluster *cluster);

// SPDX-License-Identifier: Apache-2.0
/* What the parts of the agent have in common. Not for others. */
#pragma once

#include <stdio.h>

#include "core/agent/agent.h"
#include "core/agent/agent_metrics.h"
#include "core/agent/gateway_link.h"
#include "core/agent/promise_exchange.h"
#include "core/agent/records.h"
#include "core/agent/registrar.h"
#include "core/control/control.h"

enum {
	AGENT_PATH = 512,
	AGENT_POOL = 128,     /* the text of the key */
	AGENT_PAGE = 4000,    /* peers of a page: etcd 3.4 goes through all that are left for each */
	AGENT_PROBES = 3,     /* that fail, and the watch is begun again without one */
	AGENT_PAGE_MS = 5000, /* of one try */
	AGENT_PAGE_LIMIT_MS = 20000,
	AGENT_READ_MS = 1200, /* of a read in all, two endpoints: well within the fence */
	AGENT_WRITE_MS = 1000,
	AGENT_GATEWAY_MS = 1000, /* of a request about blocks */
	AGENT_PEERS_MS = 120000, /* a million peers on a slow machine */
};
#define AGENT_STALE   (NS_PER_S / 2) /* reads are ahead of the watch for so long: it has to report a write of our own */
#define AGENT_PROBE   (5 * NS_PER_S) /* between two of these */
#define AGENT_REFUSED (30 * NS_PER_S) /* until all peers are given anew, if any has changed */

/* The peers that the gateway has been told, and how. */
enum agent_peers_phase {
	PEERS_WANTED,  /* a snapshot has to be read */
	PEERS_READING, /* pages are on their way */
	PEERS_SENDING, /* the gateway reads the file */
	PEERS_FOLLOWING,
};

struct agent_peers {
	enum agent_peers_phase phase;
	uint64_t not_before;
	uint64_t revision; /* of the snapshot; 0: that of the first page */
	uint64_t began;	   /* ns */
	char after[ETCD_KEY_MAX];
	FILE *file; /* what is written next: the snapshot's lines, then those of changes */
	unsigned serial, lines;
	unsigned sending; /* serial of the file that the gateway reads */
	uint64_t warn_at; /* not before: of one that cannot be read */
	unsigned skipped; /* since the last snapshot began: peers whose key or value could not be read */
	bool again;	  /* the gateway has started anew, or changes were lost */
	uint64_t snapshots, changes;
	/* The gateway has refused some, and how many changes there were then; 0: none. A later change may put it right.
	 */
	uint64_t refused_at, refused_changes;
	uint64_t last_load; /* ns that the last snapshot took, until the gateway had it */
};

struct agent_watch {
	struct etcd_watch *watch; /* NULL: none */
	uint64_t seen;		  /* all changes up to there are known; 0: nothing yet */
	uint64_t stale_since;	  /* reads have been ahead; 0: they are not */
	uint64_t not_before;
	/* A write of our own that the watch has to report. */
	bool probing;
	uint64_t probe_revision; /* 0: none was made */
	uint64_t probe_at;	 /* not before */
	unsigned probes_failed;	 /* one after the other: the role may not write there */
};

/* The node that took a block last, for the map of owners. */
struct agent_map_owner {
	uint64_t taken_revision; /* of the block then; 0: none, or this node */
	char node[OWNERSHIP_NAME], inside[OWNERSHIP_ADDRESS];
};

/* Nodes with an address that the map leaves out: ours, or none. */
struct agent_map_omitted {
	size_t count;
	struct {
		char node[OWNERSHIP_NAME], inside[OWNERSHIP_ADDRESS];
	} nodes[OWNERSHIP_NODES_MAX];
};

/* What the gateway can give out, as it is written to etcd. */
struct agent_pool {
	char text[AGENT_POOL]; /* the key's value; empty: it is not known */
	bool due, writing;
	bool warned; /* that it cannot be written */
	uint64_t not_before;
};

struct agent {
	const struct agent_settings *settings;
	const struct clock *clock;
	struct etcd *etcd;
	struct ownership rule;
	struct ownership_view view; /* of the last read */
	uint64_t read_revision;
	struct gateway_link *fence, *peers_link, *map_link;
	uint64_t instance;  /* of the gateway's process, as it says */
	bool gateway_known; /* it answered last */
	struct agent_peers peers;
	struct agent_watch watch;
	struct agent_pool pool;
	char *map_sent; /* text; NULL: none */
	unsigned map_part, map_parts, map_serial;
	uint64_t map_not_before; /* after a failure */
	uint64_t map_revision;	 /* of what the last one was made from */
	bool map_warned, map_again;
	struct agent_map_omitted map_omitted; /* by the last one: logged */
	struct agent_map_owner map_last[OWNERSHIP_BLOCKS];
	struct records_unreadable unreadable; /* of the last read */
	char uuid[OWNERSHIP_UUID];
	char machine[OWNERSHIP_MACHINE];
	int state_fd; /* locked */
	int64_t saved_lease;
	struct control_listener listener; /* of the agent's own control socket */
	struct control *control;
	struct registrar *registrar;
	struct agent_promises *promises;
	struct agent_metrics *metrics; /* NULL: none */
	uint64_t metrics_at;
	bool name_warned, members_warned;
	uint64_t etcd_silent_since; /* no read was answered since; 0: the last one was */
	bool etcd_warned;
};

/* --- agent_identity.c --------------------------------------------------------------------------------------------- */

/* Locks State, and reads or makes the uuid; `lease` is what an earlier process kept, or 0. Tells machines apart by
 * /etc/machine-id; where there is none, each boot counts as another machine. */
int agent_identity_open(struct agent *agent, int64_t *lease, struct error *error);

/* Writes the lease down, if it is another one. */
void agent_identity_keep(struct agent *agent);
void agent_identity_close(struct agent *agent);

/* Whether the node drains stays over a restart of the agent, and not over a boot. */
bool agent_identity_drains(const struct agent *agent);
int agent_identity_drain(const struct agent *agent, bool draining, struct error *error);

/* --- agent_control.c ---------------------------------------------------------------------------------------------- */

int agent_control_open(struct agent *agent, struct error *error);
void agent_control_close(struct agent *agent);

/* Answers requests, and those whose peers are added or deleted by now. */
void agent_control_step(struct agent *agent);

/* --- agent_blocks.c ----------------------------------------------------------------------------------------------- */

/* Does what the rule says is next. */
void agent_blocks_step(struct agent *agent);

/* Sends the map of owners, if it has changed. */
void agent_map_step(struct agent *agent);

/* --- agent_promises.c --------------------------------------------------------------------------------------------- */

int agent_promises_open(struct agent *agent, struct error *error);
void agent_promises_close(struct agent *agent);

/* What to wait for, and until when; 0: there is nothing to be sent again. */
int agent_promises_fd(const struct agent *agent);
uint64_t agent_promises_deadline(const struct agent *agent);

/* Whatever came. */
void agent_promises_run(struct agent *agent);

/* After a read: the rule knows its view. */
void agent_promises_see(struct agent *agent);

/* OWNERSHIP_DO_ASK. What is to be sent is sent in the next step. */
void agent_promises_ask(struct agent *agent, const struct ownership_action *action);

/* Sends what is to be sent, and says what is to be said. */
void agent_promises_step(struct agent *agent);
void agent_promises_count(const struct agent *agent, uint64_t now, struct agent_figures *figures);

/* --- agent_pool.c ------------------------------------------------------------------------------------------------- */

/* `pool` is what the gateway said; NULL is allowed. */
void agent_pool_see(struct agent *agent, json_t *pool);

/* Writes it, if it is another one. */
void agent_pool_step(struct agent *agent);

/* --- agent_peers.c ------------------------------------------------------------------------------------------------ */

void agent_peers_step(struct agent *agent);
void agent_peers_close(struct agent *agent);

/* The gateway has lost what it was told. */
void agent_peers_again(struct agent *agent);

/* One line about a peer. -EPROTO: its key or value cannot be read, and there is no line; -EIO: it cannot be written
 * (no memory, no space), and a part of it may be there. */
int agent_peers_write(FILE *file, const char *key, const char *value, size_t length);

/* The same of one that is deleted. */
int agent_peers_delete(FILE *file, const char *key);

/* --- agent_watch.c ------------------------------------------------------------------------------------------------ */

/* Begins the watch, or begins it again where it is behind. */
void agent_watch_step(struct agent *agent);

/* A read was answered: the watch is begun again if its connection may be dead. */
void agent_watch_doubt(struct agent *agent);
void agent_watch_close(struct agent *agent);

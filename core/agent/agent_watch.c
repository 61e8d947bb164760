// SPDX-License-Identifier: Apache-2.0
/* The watch on all keys of the cluster: changes of peers go to the gateway, those of blocks, nodes and members bring
 * the next read forward. Only reads decide about ownership, so a watch that is late or lost costs time and nothing
 * else. */
#include <string.h>

#include "core/agent/agent_state.h"

static void lost(struct agent *agent, uint64_t wait)
{
	etcd_watch_stop(agent->watch.watch);
	agent->watch.watch = NULL;
	agent->watch.stale_since = 0;
	agent->watch.not_before = clock_monotonic(agent->clock) + wait;
}

static void peer_changed(struct agent *agent, const struct etcd_event *event)
{
	struct agent_peers *peers = &agent->peers;
	size_t skip = strlen(agent->settings->prefix) + strlen(RECORDS_PEER);
	const struct etcd_kv *kv = event->kv;
	if (peers->file == NULL || peers->phase == PEERS_WANTED || peers->phase == PEERS_READING) {
		peers->again = peers->phase != PEERS_WANTED; /* the watch begins at the snapshot: this cannot be */
		return;
	}
	bool written = event->kind == ETCD_DELETE
			       ? agent_peers_delete(peers->file, kv->key + skip)
			       : agent_peers_write(peers->file, kv->key + skip, kv->value, kv->value_length);
	if (!written) {
		log_warning("peer %.64s: its value cannot be read (no JSON, or of a newer version), and is left out",
			    kv->key + skip);
		return;
	}
	peers->lines++;
	peers->changes++;
}

static void changed(void *context, const struct etcd_event *event)
{
	struct agent *agent = context;
	size_t prefix = strlen(agent->settings->prefix);
	const char *name = event->kv != NULL && event->kv->key_length > prefix ? event->kv->key + prefix : "";
	switch (event->kind) {
	case ETCD_PUT:
	case ETCD_DELETE:
		/* A watch that began again may repeat. */
		if (event->revision <= agent->watch.seen)
			break;
		if (strncmp(name, RECORDS_PEER, strlen(RECORDS_PEER)) == 0)
			peer_changed(agent, event);
		else if (strncmp(name, RECORDS_INDEX, strlen(RECORDS_INDEX)) != 0 &&
			 strncmp(name, RECORDS_NET, strlen(RECORDS_NET)) != 0)
			ownership_changed(&agent->rule, clock_monotonic(agent->clock));
		break;
	case ETCD_SEEN:
		if (event->revision > agent->watch.seen)
			agent->watch.seen = event->revision;
		break;
	case ETCD_WATCHING:
		break;
	case ETCD_COMPACTED:
		log_info("etcd has compacted what this agent has not seen: peers are read anew");
		lost(agent, 0);
		agent->watch.seen = 0;
		agent_peers_again(agent);
		break;
	case ETCD_LOST:
		log_debug("watch: %s", event->text);
		lost(agent, OWNERSHIP_RETRY);
		break;
	}
}

void agent_watch_step(struct agent *agent)
{
	struct agent_watch *watch = &agent->watch;
	uint64_t now = clock_monotonic(agent->clock);
	/* Begins once the snapshot has a revision. */
	if (watch->seen == 0 || agent->peers.phase == PEERS_WANTED || agent->peers.phase == PEERS_READING)
		return;
	if (watch->watch == NULL) {
		if (now >= watch->not_before)
			watch->watch = etcd_watch_start(agent->etcd, agent->settings->prefix, watch->seen + 1, changed,
							agent);
		watch->stale_since = 0;
		return;
	}
	if (agent->read_revision <= watch->seen)
		watch->stale_since = 0;
	else if (watch->stale_since == 0)
		watch->stale_since = now;
	else if (now >= watch->stale_since + AGENT_STALE)
		lost(agent, 0);
}

void agent_watch_close(struct agent *agent)
{
	etcd_watch_stop(agent->watch.watch);
	agent->watch.watch = NULL;
}

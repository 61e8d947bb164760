// SPDX-License-Identifier: Apache-2.0
/* The watch on all keys of the cluster: changes of peers go to the gateway, those of blocks, nodes and members bring
 * the next read forward. Only reads decide about ownership, so a watch that is late or lost costs time and nothing
 * else. */
#include <string.h>

#include "core/agent/agent_state.h"
#include "crypto/keys.h"

static void lost(struct agent *agent, uint64_t wait)
{
	etcd_watch_stop(agent->watch.watch);
	agent->watch.watch = NULL;
	agent->watch.stale_since = 0;
	agent->watch.not_before = clock_monotonic(agent->clock) + wait;
}

/* Once a second: a program may write many of them. */
static void warn_of_peer(struct agent *agent, const char *key)
{
	uint8_t bytes[KEY_SIZE];
	uint64_t now = clock_monotonic(agent->clock);
	if (now < agent->peers.warn_at)
		return;
	agent->peers.warn_at = now + NS_PER_S;
	log_warning("peer %s: it cannot be read (no key, no JSON, or of a newer version), and is left out",
		    key_parse(key, bytes) ? key : "with a name that is no key");
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
	const char *key = kv->key + skip;
	int result = event->kind == ETCD_DELETE ? agent_peers_delete(peers->file, key)
						: agent_peers_write(peers->file, key, kv->value, kv->value_length);
	if (result == -EPROTO) {
		warn_of_peer(agent, key);
		peers->skipped++;
		/* Left out as by a snapshot, and not as it was before. */
		result = agent_peers_delete(peers->file, key);
	}
	if (result == 0)
		peers->lines++;
	else if (result != -EPROTO)
		agent_peers_again(agent);
	peers->changes++;
}

static bool is_about_blocks(const char *name)
{
	static const char *const others[] = {RECORDS_INDEX, RECORDS_NET, RECORDS_WATCH, RECORDS_NEXT, RECORDS_POOL};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	}
	return true;
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
		else if (is_about_blocks(name))
			ownership_changed(&agent->rule, event->revision, clock_monotonic(agent->clock));
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

/* --- whether it still reports ------------------------------------------------------------------------------------- */

static void probed(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	struct agent_watch *watch = &agent->watch;
	if (answer->code == -ECANCELED)
		return;
	uint64_t now = clock_monotonic(agent->clock);
	watch->probing = false;
	watch->probe_at = now + (answer->code == 0 ? AGENT_PROBE : NS_PER_S);
	watch->probe_revision = answer->code == 0 ? answer->revision : 0;
	watch->probes_failed = answer->code == 0 ? 0 : watch->probes_failed + 1;
	watch->stale_since = now;
}

static void probe(struct agent *agent)
{
	char key[ETCD_KEY_MAX];
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	if (records_key(key, agent->settings->prefix, RECORDS_WATCH, agent->settings->node))
		etcd_txn_put(&txn, key, "{\"version\":1}", 0);
	else
		txn.failed = -ENAMETOOLONG;
	agent->watch.probing = etcd_txn(agent->etcd, &txn, false, AGENT_WRITE_MS, probed, agent) == 0;
	if (!agent->watch.probing)
		agent->watch.probe_at = clock_monotonic(agent->clock) + NS_PER_S;
}

/* The store has a later revision than the watch has reported. It may be another's, outside of the prefix, of which the
 * watch reports nothing; so something below the prefix is written, which it has to report. */
static void judge(struct agent *agent, uint64_t now)
{
	struct agent_watch *watch = &agent->watch;
	if (watch->probing)
		return;
	if (watch->probe_revision > watch->seen || watch->probes_failed == AGENT_PROBES) {
		watch->probe_revision = 0;
		watch->probes_failed = 0;
		log_debug("watch: what was written is not reported; it is begun again");
		lost(agent, 0);
	} else if (now >= watch->probe_at) {
		probe(agent);
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
		judge(agent, now);
}

void agent_watch_doubt(struct agent *agent)
{
	if (agent->watch.watch == NULL || !etcd_watch_in_doubt(agent->watch.watch))
		return;
	log_debug("watch: its endpoint has failed, and reads are answered again; it is begun again");
	lost(agent, 0);
}

void agent_watch_close(struct agent *agent)
{
	etcd_watch_stop(agent->watch.watch);
	agent->watch.watch = NULL;
}

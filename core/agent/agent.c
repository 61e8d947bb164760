// SPDX-License-Identifier: Apache-2.0
#include "core/agent/agent.h"

#include <stdlib.h>
#include <string.h>

#include "core/agent/agent_state.h"
#include "core/host/notify.h"

enum { POLL_STOP, POLL_CONTROL, POLL_REGISTRAR, POLL_PROMISES, POLL_LINKS, POLL_MAX = POLL_LINKS + 3 };

static int open_all(struct agent *agent, struct error *error)
{
	const struct agent_settings *settings = agent->settings;
	const struct etcd_params params = agent_settings_etcd(settings, agent->clock);
	int64_t lease;
	int result = agent_identity_open(agent, &lease, error);
	if (result != 0)
		return result;
	agent->etcd = etcd_new(&params, error);
	if (agent->etcd == NULL)
		return -EINVAL;
	agent->fence = gateway_link_new(settings->control, agent->clock, error);
	agent->peers_link = gateway_link_new(settings->control, agent->clock, error);
	agent->map_link = gateway_link_new(settings->control, agent->clock, error);
	if (agent->fence == NULL || agent->peers_link == NULL || agent->map_link == NULL)
		return -EINVAL;
	bool listens = settings->metrics.path != NULL || settings->metrics.port != 0;
	if (listens && (agent->metrics = agent_metrics_open(&settings->metrics, error)) == NULL)
		return -EINVAL;
	ownership_init(&agent->rule, settings->node, agent->uuid, agent->machine, settings->blocks, lease,
		       clock_monotonic(agent->clock));
	if (agent_identity_drains(agent)) {
		log_info("drain: goes on from before; shardtunctl drain --off ends it");
		ownership_drain(&agent->rule, true, clock_monotonic(agent->clock));
	}
	result = agent_promises_open(agent, error);
	return result == 0 ? agent_control_open(agent, error) : result;
}

struct agent *agent_new(const struct agent_settings *settings, const struct clock *clock, struct error *error)
{
	struct agent *agent = calloc(1, sizeof *agent);
	if (agent == NULL) {
		error_set(error, -ENOMEM, "no memory");
		return NULL;
	}
	agent->settings = settings;
	agent->clock = clock;
	agent->state_fd = -1;
	if (open_all(agent, error) != 0) {
		agent_free(agent);
		return NULL;
	}
	return agent;
}

void agent_free(struct agent *agent)
{
	if (agent == NULL)
		return;
	agent_control_close(agent);
	agent_metrics_close(agent->metrics);
	agent_watch_close(agent);
	etcd_free(agent->etcd);
	gateway_link_free(agent->fence);
	gateway_link_free(agent->peers_link);
	gateway_link_free(agent->map_link);
	agent_peers_close(agent);
	agent_identity_close(agent);
	agent_promises_close(agent); /* after etcd, whose requests may be its own */
	free(agent->map_sent);
	free(agent);
}

static int wait_ms(const struct agent *agent, struct gateway_link *const *links, size_t count)
{
	uint64_t now = clock_monotonic(agent->clock), deadline = ownership_deadline(&agent->rule, now);
	for (size_t i = 0; i < count; i++) {
		uint64_t late = gateway_link_deadline(links[i]);
		if (late != 0 && late < deadline)
			deadline = late;
	}
	uint64_t repeated = agent_promises_deadline(agent);
	if (repeated != 0 && repeated < deadline)
		deadline = repeated;
	return deadline > now ? (int)((deadline - now) / NS_PER_MS) + 1 : 0;
}

static void show(struct agent *agent, struct notify *notify)
{
	notify_status(notify, "%u blocks%s%s%s", ownership_count(&agent->rule),
		      agent->rule.draining ? ", draining" : "", agent->gateway_known ? "" : ", no gateway",
		      agent->etcd_silent_since != 0 ? ", no etcd" : "");
}

static void count_blocks(const struct agent *agent, uint64_t now, struct agent_figures *figures)
{
	const struct ownership *rule = &agent->rule;
	for (unsigned block = 1; block <= rule->block_count; block++) {
		const struct ownership_block *b = &rule->blocks[block];
		figures->blocks_served += ownership_serves(rule, block, now);
		figures->moving += b->mine && b->doing != OWNERSHIP_IDLE;
		figures->without_owner += agent->view.sent != 0 && agent->view.blocks[block].kind != OWNERSHIP_OWNED;
	}
}

static void publish(struct agent *agent, uint64_t now)
{
	const struct ownership *rule = &agent->rule;
	const struct ownership_figures *figures = &rule->figures;
	if (agent->metrics == NULL || now < agent->metrics_at)
		return;
	agent->metrics_at = now + NS_PER_S;
	struct agent_figures published = {
		.blocks_owned = ownership_count(rule),
		.share = rule->draining ? 0 : rule->share,
		.members = agent->view.member_count,
		.nodes = agent->view.node_count,
		.is_member = rule->is_member,
		.draining = rule->said_draining,
		.name_is_used = rule->name_is_used,
		.taken = figures->taken,
		.cleaned = figures->cleaned,
		.lost = figures->lost,
		.fences = figures->fences,
		.unreadable_keys = agent->unreadable.count,
		.reads = figures->reads,
		.reads_failed = figures->reads_failed,
		.was_read = agent->view.sent != 0,
		.read_age = now - agent->view.sent,
		.etcd = *etcd_counters(agent->etcd),
		.peer_loads = agent->peers.snapshots,
		.peer_changes = agent->peers.changes,
		.peers_skipped = agent->peers.skipped,
		.peers_load_time = agent->peers.last_load,
		.gateway_up = agent->gateway_known,
		.etcd_up = agent->view.sent != 0 && agent->etcd_silent_since == 0,
	};
	count_blocks(agent, now, &published);
	agent_promises_count(agent, now, &published);
	agent_metrics_set(agent->metrics, &published);
}

int agent_run(struct agent *agent, int stop_fd, struct error *error)
{
	struct gateway_link *const links[] = {agent->fence, agent->peers_link, agent->map_link};
	struct notify notify;
	notify_open(&notify);
	notify_ready(&notify);
	int result = 0;
	for (;;) {
		struct pollfd polled[POLL_MAX] = {
			[POLL_STOP] = {.fd = stop_fd, .events = POLLIN},
			[POLL_CONTROL] = {.fd = control_fd(agent->control), .events = POLLIN},
			[POLL_REGISTRAR] = {.fd = registrar_fd(agent->registrar), .events = POLLIN},
			[POLL_PROMISES] = {.fd = agent_promises_fd(agent), .events = POLLIN}};
		unsigned count = POLL_LINKS;
		uint64_t now = clock_monotonic(agent->clock);
		agent_blocks_step(agent);
		agent_promises_step(agent);
		agent_map_step(agent);
		agent_pool_step(agent);
		agent_peers_step(agent);
		agent_watch_step(agent);
		show(agent, &notify);
		publish(agent, now);
		if (notify_watchdog_due(&notify, now))
			notify_watchdog(&notify, now);
		for (size_t i = 0; i < ARRAY_SIZE(links); i++)
			count += gateway_link_poll(links[i], &polled[count]);
		result = etcd_run(agent->etcd, polled, count, wait_ms(agent, links, ARRAY_SIZE(links)));
		if (result != 0) {
			error_set(error, result, "waiting for etcd failed (%s)", strerror(-result));
			break;
		}
		for (size_t i = 0; i < ARRAY_SIZE(links); i++)
			gateway_link_run(links[i]);
		agent_promises_run(agent);
		agent_control_step(agent);
		if (polled[POLL_STOP].revents != 0)
			break;
	}
	notify_stopping(&notify);
	notify_close(&notify);
	return result;
}

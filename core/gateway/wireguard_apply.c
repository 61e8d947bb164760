// SPDX-License-Identifier: Apache-2.0
#include <sodium.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/gateway/network.h"
#include "core/gateway/quota.h"
#include "core/gateway/reloader.h"
#include "core/gateway/wireguard_plan.h"

/* What it has from before, or from the configuration. */
static struct peer_limits limits_of(const struct gateway_running *running, const struct wireguard_planned *item)
{
	const struct gateway_config *config = running->reread != NULL ? running->reread : running->config;
	static const struct config_limits own;
	return item->there != NULL ? peer_limits(item->there) : gateway_peer_limits(&own, &config->limits);
}

static int add(const struct gateway_running *running, const struct wireguard_planned *item, struct error *error)
{
	struct registry *registry = running->registry;
	bool proven = item->there != NULL && item->there->freshness.proven;
	struct registry_peer peer = {.public_key = item->change->public_key,
				     .preshared_key = item->preshared_key,
				     .name = item->there != NULL ? peer_name(item->there) : NULL,
				     .networks = item->networks,
				     .network_count = item->network_count,
				     .limits = limits_of(running, item),
				     .protocol = PEER_WIREGUARD,
				     .contact = item->contact,
				     .freshness = proven ? &item->there->freshness : NULL};
	struct ip_prefix address4, address6;
	pool_addresses(&registry->pool, item->index, &address4, &address6);
	peer.address = address4.address.family != 0 ? address4.address : address6.address;
	return gateway_peers_add(registry, &peer, &running->ender, error);
}

/* Its sessions' workers go by that from now on. */
static int alter(const struct gateway_running *running, const struct wireguard_planned *item, struct error *error)
{
	int result = 0;
	running->registry->changes++;
	if (!contact_equal(&item->contact, peer_contact(item->there)))
		result = registry_reach_peer(running->registry, item->there, &item->contact);
	if (result != 0)
		return result;
	return gateway_peers_alter(running->registry, item->there,
				   &(struct registry_peer){.preshared_key = item->preshared_key,
							   .networks = item->networks,
							   .network_count = item->network_count},
				   &running->ender, error);
}

static int take_away(const struct gateway_running *running, const struct wireguard_plan *plan,
		     struct gateway_peers_change *change)
{
	struct registry *registry = running->registry;
	int result = 0;
	for (size_t i = 0; i < plan->count && result == 0; i++) {
		const struct wireguard_planned *item = &plan->items[i];
		bool again = item->step == WIREGUARD_REPLACE;
		if (item->step == WIREGUARD_ALTER)
			result = registry_keep_networks(registry, item->there, item->networks, item->network_count);
		if (item->step != WIREGUARD_REMOVE && !again)
			continue;
		(void)gateway_peers_remove(registry, item->change->public_key,
					   again ? WIRE_BYE_RESTARTING : WIRE_BYE_REMOVED, &running->ender,
					   &change->ended);
		change->removed += !again;
	}
	return result;
}

/* All is taken away before anything is given, since one peer may get what another had. A peer that was removed is there
 * to be read until this thread's next quiescent state. */
static int carry_out(const struct gateway_running *running, const struct wireguard_plan *plan,
		     struct gateway_peers_change *change, struct error *error)
{
	int result = take_away(running, plan, change);
	for (size_t i = 0; i < plan->count && result == 0; i++) {
		const struct wireguard_planned *item = &plan->items[i];
		change->added += item->step == WIREGUARD_ADD;
		change->changed += item->step == WIREGUARD_REPLACE || item->step == WIREGUARD_ALTER;
		if (item->step == WIREGUARD_ADD || item->step == WIREGUARD_REPLACE)
			result = add(running, item, error);
		else if (item->step == WIREGUARD_ALTER)
			result = alter(running, item, error);
	}
	return result;
}

/* Before anything is changed: what a peer with a quota needs. */
static int ready_for_quotas(const struct gateway_running *running, const struct wireguard_plan *plan)
{
	struct error error;
	for (size_t i = 0; i < plan->count && running->quota != NULL; i++) {
		if (plan->items[i].step == WIREGUARD_ADD && limits_of(running, &plan->items[i]).quota != 0)
			return quota_ready(running->quota, &error);
	}
	return 0;
}

static int apply(const struct gateway_running *running, const struct wireguard_plan *plan)
{
	struct gateway_peers_change change = {0};
	struct error error = {.text = "out of memory"};
	int result = ready_for_quotas(running, plan);
	if (result != 0)
		return result;
	result = carry_out(running, plan, &change, &error);
	if (running->network != NULL)
		gateway_network_follow(running->network, running->registry);
	if (result != 0)
		log_error("WireGuard's control socket: peers or networks are missing now, reload: %s", error.text);
	else if (change.added + change.removed + change.changed != 0)
		log_info("WireGuard's control socket: peers: %zu added, %zu removed, %zu changed; %zu sessions ended; "
			 "until "
			 "the configuration is read again",
			 change.added, change.removed, change.changed, change.ended);
	return result;
}

int wireguard_set_apply(struct wireguard_set *set)
{
	const struct gateway_running *running = set->running;
	struct wireguard_plan plan;
	if (set->code != 0)
		return set->code;
	if (reloader_busy(running->reloader))
		return -EBUSY;
	if (set->replace_peers && !cds_list_empty(&running->registry->peers.wireguard))
		return -EOPNOTSUPP;
	int result = wireguard_plan_make(&plan, running->registry, set);
	if (result == 0)
		result = apply(running, &plan);
	wireguard_plan_free(&plan);
	return result;
}

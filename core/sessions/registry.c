// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "core/sessions/registry_inside.h"

int registry_init(struct registry *registry, const struct registry_params *params, struct error *error)
{
	*registry = (struct registry){0};
	registry->fence = params->fence;
	if (params->fence != NULL && params->max_sessions > BLOCK_SESSIONS_MAX)
		return error_set(error, -EINVAL, "session table of %u: a cluster's has at most %u",
				 params->max_sessions, (unsigned)BLOCK_SESSIONS_MAX);
	cds_wfcq_init(&registry->retired_head, &registry->retired_tail);
	int result = pool_init(&registry->pool, params->addresses, params->address_count, error);
	if (result != 0)
		return result;
	result = peers_init(&registry->peers, params->expected_peers, error);
	if (result != 0)
		goto pool;
	/* While one session takes another's place, both have an ID of the same worker. */
	registry->max_sessions = params->max_sessions;
	result = session_table_init(&registry->table, 2 * params->max_sessions, params->workers);
	if (result == 0 && params->fence != NULL)
		session_table_scatter(&registry->table);
	if (result != 0) {
		error_set(error, result, "session table of %u: %s", params->max_sessions, strerror(-result));
		goto peers;
	}
	CDS_INIT_LIST_HEAD(&registry->unattended);
	CDS_INIT_LIST_HEAD(&registry->named);
	networks_init(&registry->networks);
	usages_init(&registry->usages, params->expected_peers);
	(void)pthread_mutex_init(&registry->mutex, NULL); /* cannot fail on Linux */
	return 0;

peers:
	peers_deinit(&registry->peers);
pool:
	pool_deinit(&registry->pool);
	cds_wfcq_destroy(&registry->retired_head, &registry->retired_tail);
	return result;
}

void registry_deinit(struct registry *registry)
{
	while (registry_collect(registry) == REGISTRY_COLLECT_MAX)
		;
	rcu_offline();
	rcu_after_readers_barrier();
	rcu_online();
	(void)pthread_mutex_destroy(&registry->mutex);
	networks_deinit(&registry->networks);
	session_table_deinit(&registry->table);
	peers_deinit(&registry->peers);
	usages_deinit(&registry->usages);
	pool_deinit(&registry->pool);
	cds_wfcq_destroy(&registry->retired_head, &registry->retired_tail);
}

/* --- sessions that ended ------------------------------------------------------------------------------------------ */

static void free_session(struct rcu_head *head)
{
	rcu_after_readers_begin();
	session_free(caa_container_of(head, struct session, rcu));
}

void registry_collect_session(struct registry *registry, struct session *session)
{
	struct peer *peer = session->peer;
	if (peer->active == session)
		peer->active = NULL;
	if (peer->pending == session)
		peer->pending = NULL;
	bool confirmed = session_is_active(session);
	if (confirmed)
		peer->last_index = session->pool_index;
	if (peer->active == NULL && peer->pending == NULL) {
		if (confirmed || session->replaces != 0)
			(void)pool_release(&registry->pool, session->pool_index);
		else
			(void)pool_cancel(&registry->pool, session->pool_index);
	}
	session_table_give_back(&registry->table, session->id);
	registry_attend(registry, peer);
	peer_put(&registry->peers, peer);
	rcu_after_readers(&session->rcu, free_session);
}

size_t registry_collect_locked(struct registry *registry)
{
	size_t count = 0;
	struct cds_wfcq_node *node;
	/* One that is being put in at this moment comes out the next time. */
	while (count < REGISTRY_COLLECT_MAX && !registry->held &&
	       (node = __cds_wfcq_dequeue_nonblocking(&registry->retired_head, &registry->retired_tail)) != NULL &&
	       node != CDS_WFCQ_WOULDBLOCK) {
		rcu_tsan_acquire();
		registry_collect_session(registry, caa_container_of(node, struct session, retired));
		count++;
	}
	return count;
}

size_t registry_collect(struct registry *registry)
{
	registry_lock(registry);
	size_t count = registry_collect_locked(registry);
	registry_unlock(registry);
	return count;
}

void registry_hold(struct registry *registry, bool held)
{
	registry_lock(registry);
	registry->held = held;
	registry_unlock(registry);
}

void registry_retire(struct registry *registry, struct session *session)
{
	cds_wfcq_node_init(&session->retired);
	rcu_tsan_release();
	(void)cds_wfcq_enqueue(&registry->retired_head, &registry->retired_tail, &session->retired);
}

/* --- quotas ------------------------------------------------------------------------------------------------------- */

static void count_quotas(struct registry *registry, const struct peer_limits *limits, uint32_t by)
{
	if (limits->quota != 0)
		atomic_fetch_add_explicit(&registry->quotas, by, memory_order_relaxed);
}

bool registry_follow_usage(struct registry *registry, struct peer *peer, bool make)
{
	struct peer_limits limits = peer_limits(peer);
	struct usage *usage = peer_usage(peer);
	if (usage == NULL && limits.quota != 0) {
		usage = usages_get(&registry->usages, peer->public_key, make);
		atomic_store_explicit(&peer->usage, usage, memory_order_release);
		if (usage == NULL)
			return !make;
	}
	if (usage != NULL)
		usages_follow(&registry->usages, usage, limits.quota, limits.period);
	return true;
}

static void follow_restored(struct peer *peer, void *context)
{
	(void)registry_follow_usage(context, peer, false);
}

void registry_follow_usages(struct registry *registry)
{
	registry_lock(registry);
	peers_for_each(&registry->peers, follow_restored, registry);
	registry_unlock(registry);
}

/* --- peers -------------------------------------------------------------------------------------------------------- */

/* A WireGuard client has its address in its file, so it has to be the same after a restart. */
static int hold_any_address(struct registry *registry, struct peer *peer, struct error *error)
{
	uint32_t index = pool_choose(&registry->pool, load_be64(peer->public_key));
	if (index == POOL_NONE)
		return error_set(error, -EADDRINUSE, "Address: none is left in the pool; give it a larger network");
	pool_hold(&registry->pool, index);
	peer->fixed_index = index;
	return 0;
}

static int hold_address(struct registry *registry, struct peer *peer, const struct ip_address *address,
			struct error *error)
{
	char text[IP_TEXT_MAX];
	uint32_t index;
	if (address->family == 0 && registry->fence != NULL)
		return error_set(error, -EADDRNOTAVAIL,
				 "Address: a client of a cluster needs one: it has the same at each "
				 "gateway");
	if (address->family == 0)
		return peer_protocol(peer) == PEER_WIREGUARD ? hold_any_address(registry, peer, error) : 0;
	ip_address_format(address, text);
	if (!pool_index(&registry->pool, address, &index))
		return error_set(error, -EADDRNOTAVAIL, "Address = %s: not one that the gateway can give out", text);
	if (registry->fence != NULL && block_of_index(index, registry->fence->peers) == BLOCK_NONE)
		return error_set(error, -EADDRNOTAVAIL,
				 "Address = %s: above the last of %u blocks of %u addresses; set ClusterBlockSize",
				 text, (unsigned)BLOCK_COUNT - 1, registry->fence->peers);
	if (pool_held(&registry->pool, index))
		return error_set(error, -EADDRINUSE, "Address = %s: another peer has the same host number", text);
	pool_hold(&registry->pool, index);
	peer->fixed_index = index;
	return 0;
}

/* The first `count` of them but those that are kept; NULL: none is. */
static void remove_networks(struct registry *registry, const struct peer_networks *networks, size_t count,
			    const struct peer_networks *kept)
{
	for (size_t i = 0; i < count; i++) {
		bool stays = kept != NULL && peer_networks_have(kept, &networks->items[i]);
		struct network_route *route = stays ? NULL : networks_exact(&registry->networks, &networks->items[i]);
		if (route != NULL)
			networks_remove(&registry->networks, route);
	}
}

/* Makes these the peer's; what it has is among them. */
static int add_networks(struct registry *registry, struct peer *peer, const struct ip_prefix *networks, size_t count,
			struct error *error)
{
	const struct peer_networks *present = peer_networks(peer);
	if (count == 0)
		return 0;
	struct peer_networks *all = peer_networks_new(networks, count);
	if (all == NULL)
		return error_set(error, -ENOMEM, "peer: out of memory");
	for (uint32_t i = 0; i < all->count; i++) {
		struct network_route *route;
		if (peer_networks_have(present, &all->items[i]))
			continue;
		int result = networks_add(&registry->networks, &all->items[i], peer, &route, error);
		if (result != 0) {
			remove_networks(registry, all, i, present);
			free(all);
			return result;
		}
	}
	peer_set_networks(peer, all);
	return 0;
}

static void remove_all_networks(struct registry *registry, const struct peer *peer)
{
	const struct peer_networks *networks = peer_networks(peer);
	remove_networks(registry, networks, networks->count, NULL);
}

static int add_peer(struct registry *registry, struct peer *peer, const struct registry_peer *from, struct error *error)
{
	int result = hold_address(registry, peer, &from->address, error);
	if (result != 0)
		return result;
	result = add_networks(registry, peer, from->networks, from->network_count, error);
	if (result == 0) {
		result = peers_add(&registry->peers, peer);
		if (result == 0)
			return 0;
		remove_all_networks(registry, peer);
		const struct peer *there = peers_find(&registry->peers, peer->public_key);
		error_set(error, result,
			  peer_protocol(there) == from->protocol
				  ? "PublicKey: this peer is there already"
				  : "PublicKey: a peer with another Protocol has this key; a key is for one protocol");
	}
	if (peer->fixed_index != POOL_NONE)
		pool_unhold(&registry->pool, peer->fixed_index);
	return result;
}

static int make_peer(struct registry *registry, const struct registry_peer *from, struct error *error)
{
	struct peer *peer = peer_new(&registry->peers);
	if (peer == NULL)
		return error_set(error, -ENOMEM, "peer: out of memory");
	memcpy(peer->public_key, from->public_key, KEY_SIZE);
	peer_set_preshared_key(peer, from->preshared_key);
	peer_set_limits(peer, &from->limits);
	/* Cookies from before a peer was removed are no proof for the one that has its key now. */
	peer->freshness = from->freshness != NULL ? *from->freshness : (struct freshness){.cookie = registry->spent};
	int result = from->name != NULL ? peer_rename(peer, from->name) : 0;
	if (result == 0 && from->protocol == PEER_WIREGUARD)
		result = peer_speak_wireguard(peer);
	if (result == 0 && from->protocol == PEER_WIREGUARD)
		result = peer_wireguard_reach(peer->wireguard, &from->contact);
	(void)registry_follow_usage(registry, peer, false);
	if (result == 0)
		result = add_peer(registry, peer, from, error);
	else
		error_set(error, result, "peer: out of memory");
	if (result != 0) {
		peer_discard(&registry->peers, peer);
		return result;
	}
	count_quotas(registry, &from->limits, 1);
	registry_attend(registry, peer);
	registry_name(registry, peer, false);
	return 0;
}

int registry_add_peer(struct registry *registry, const struct registry_peer *from, struct error *error)
{
	registry_lock(registry);
	int result = make_peer(registry, from, error);
	registry_unlock(registry);
	return result;
}

int registry_rename_peer(struct registry *registry, struct peer *peer, const char *name)
{
	const char *old = peer_name(peer);
	if (old == name || (old != NULL && name != NULL && strcmp(old, name) == 0))
		return 0;
	registry_lock(registry);
	int result = peer_rename(peer, name);
	registry_unlock(registry);
	return result;
}

/* Those of the peer that are among `networks`. NULL: no memory. */
static struct peer_networks *kept_of(const struct peer *peer, const struct ip_prefix *networks, size_t count)
{
	const struct peer_networks *present = peer_networks(peer);
	struct peer_networks *kept = peer_networks_new(networks, count);
	uint32_t length = 0;
	for (uint32_t i = 0; kept != NULL && i < kept->count; i++) {
		if (peer_networks_have(present, &kept->items[i]))
			kept->items[length++] = kept->items[i];
	}
	if (kept != NULL)
		kept->count = length;
	return kept;
}

int registry_keep_networks(struct registry *registry, struct peer *peer, const struct ip_prefix *networks, size_t count)
{
	registry_lock(registry);
	const struct peer_networks *present = peer_networks(peer);
	struct peer_networks *kept = kept_of(peer, networks, count);
	int result = kept != NULL ? 0 : -ENOMEM;
	if (result == 0 && kept->count != present->count) {
		struct peer_networks *published = kept->count != 0 ? kept : NULL;
		peer_set_networks(peer, published);
		remove_networks(registry, present, present->count, published);
		if (published != NULL)
			kept = NULL;
	}
	free(kept);
	registry_unlock(registry);
	return result;
}

int registry_add_networks(struct registry *registry, struct peer *peer, const struct ip_prefix *networks, size_t count,
			  struct error *error)
{
	registry_lock(registry);
	int result = count != peer_networks(peer)->count ? add_networks(registry, peer, networks, count, error) : 0;
	registry_unlock(registry);
	return result;
}

void registry_set_preshared_key(struct registry *registry, struct peer *peer, const uint8_t key[KEY_SIZE])
{
	registry_lock(registry);
	peer_set_preshared_key(peer, key);
	registry_unlock(registry);
}

int registry_reach_peer(struct registry *registry, struct peer *peer, const struct contact *contact)
{
	registry_lock(registry);
	int result = peer_wireguard_reach(peer->wireguard, contact);
	registry_attend(registry, peer);
	registry_name(registry, peer, false);
	registry_unlock(registry);
	return result;
}

void registry_session_ids(const struct peer *peer, uint32_t ids[2])
{
	ids[0] = peer->active != NULL ? peer->active->id : 0;
	ids[1] = peer->pending != NULL ? peer->pending->id : 0;
}

void registry_limit_peer(struct registry *registry, struct peer *peer, const struct peer_limits *limits,
			 uint32_t ids[2])
{
	registry_lock(registry);
	struct peer_limits before = peer_limits(peer);
	count_quotas(registry, &before, (uint32_t)-1);
	count_quotas(registry, limits, 1);
	peer_set_limits(peer, limits);
	registry_session_ids(peer, ids);
	/* Without memory nothing is counted until the next session. */
	(void)registry_follow_usage(registry, peer, ids[0] != 0 || ids[1] != 0);
	registry_unlock(registry);
}

bool registry_peer_sessions(struct registry *registry, const uint8_t public_key[KEY_SIZE], uint32_t ids[2])
{
	registry_lock(registry);
	registry_collect_locked(registry);
	const struct peer *peer = peers_find(&registry->peers, public_key);
	if (peer != NULL)
		registry_session_ids(peer, ids);
	registry_unlock(registry);
	return peer != NULL;
}

bool registry_address_held(struct registry *registry, uint32_t index)
{
	registry_lock(registry);
	bool held = pool_held(&registry->pool, index);
	registry_unlock(registry);
	return held;
}

uint32_t registry_choose_address(struct registry *registry, uint64_t number)
{
	registry_lock(registry);
	uint32_t index = pool_choose(&registry->pool, number);
	registry_unlock(registry);
	return index;
}

const struct session *registry_peer_session(struct registry *registry, const struct peer *peer)
{
	registry_lock(registry);
	const struct session *session = peer->active;
	if (peer->pending != NULL && session_is_active(peer->pending))
		session = peer->pending;
	registry_unlock(registry);
	return session;
}

bool registry_peer_freshness(struct registry *registry, const uint8_t public_key[KEY_SIZE], struct freshness *freshness)
{
	registry_lock(registry);
	const struct peer *peer = peers_find(&registry->peers, public_key);
	if (peer != NULL)
		*freshness = peer->freshness;
	registry_unlock(registry);
	return peer != NULL;
}

bool registry_remove_peer(struct registry *registry, const uint8_t public_key[KEY_SIZE], uint32_t ids[2])
{
	registry_lock(registry);
	struct peer *peer = peers_find(&registry->peers, public_key);
	if (peer != NULL) {
		registry_session_ids(peer, ids);
		registry_forsake(peer);
		registry_name(registry, peer, true);
		if (peer->fixed_index != POOL_NONE)
			pool_unhold(&registry->pool, peer->fixed_index);
		remove_all_networks(registry, peer);
		/* A HELLO that was accepted may carry a cookie that did not count, because it came from elsewhere. */
		if (registry->spent < peer->freshness.cookie)
			registry->spent = peer->freshness.cookie;
		if (registry->spent < peer->freshness.mark)
			registry->spent = peer->freshness.mark;
		struct peer_limits limits = peer_limits(peer);
		count_quotas(registry, &limits, (uint32_t)-1);
		if (peer_usage(peer) != NULL)
			usages_follow(&registry->usages, peer_usage(peer), 0, limits.period);
		peers_remove(&registry->peers, peer);
	}
	registry_unlock(registry);
	return peer != NULL;
}

/* --- what the data path sees -------------------------------------------------------------------------------------- */

/* The routes may have gone with a peer that was removed, so they are looked up anew; and another peer may have these
 * networks by then, which are not for this session. */
void registry_attach_networks(struct registry *registry, const struct session *session)
{
	const struct peer_networks *networks = peer_networks(session->peer);
	for (uint32_t i = 0; i < networks->count; i++) {
		struct network_route *route = networks_exact(&registry->networks, &networks->items[i]);
		if (route != NULL && route->owner == session->peer)
			route_activate(route, session->id);
	}
}

void registry_attach(struct registry *registry, const struct session *session)
{
	(void)pool_activate(&registry->pool, session->pool_index, session->id, session->replaces);
	registry_attach_networks(registry, session);
}

void registry_detach(struct registry *registry, const struct session *session)
{
	(void)pool_deactivate(&registry->pool, session->pool_index, session->id);
	const struct peer_networks *networks = peer_networks(session->peer);
	for (uint32_t i = 0; i < networks->count; i++) {
		struct network_route *route = networks_exact(&registry->networks, &networks->items[i]);
		if (route != NULL)
			route_deactivate(route, session->id);
	}
}

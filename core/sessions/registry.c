// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/registry.h"

#include <stdlib.h>

#include "crypto/rate_limit.h"

static void lock(struct registry *registry)
{
	(void)pthread_mutex_lock(&registry->mutex);
}

static void unlock(struct registry *registry)
{
	(void)pthread_mutex_unlock(&registry->mutex);
}

int registry_init(struct registry *registry, const struct registry_params *params, struct error *error)
{
	*registry = (struct registry){0};
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
	if (result != 0) {
		error_set(error, result, "session table of %u: %s", params->max_sessions, strerror(-result));
		goto peers;
	}
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

/* The owner no longer uses it. */
static void collect(struct registry *registry, struct session *session)
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
	peer_put(&registry->peers, peer);
	rcu_after_readers(&session->rcu, free_session);
}

static size_t collect_retired(struct registry *registry)
{
	size_t count = 0;
	struct cds_wfcq_node *node;
	/* One that is being put in at this moment comes out the next time. */
	while (count < REGISTRY_COLLECT_MAX &&
	       (node = __cds_wfcq_dequeue_nonblocking(&registry->retired_head, &registry->retired_tail)) != NULL &&
	       node != CDS_WFCQ_WOULDBLOCK) {
		rcu_tsan_acquire();
		collect(registry, caa_container_of(node, struct session, retired));
		count++;
	}
	return count;
}

size_t registry_collect(struct registry *registry)
{
	lock(registry);
	size_t count = collect_retired(registry);
	unlock(registry);
	return count;
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

/* A peer with a quota gets its record; `make`: a new one, where there is none. False: no memory. */
static bool follow_usage(struct registry *registry, struct peer *peer, bool make)
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
	(void)follow_usage(context, peer, false);
}

void registry_follow_usages(struct registry *registry)
{
	lock(registry);
	peers_for_each(&registry->peers, follow_restored, registry);
	unlock(registry);
}

/* --- handshakes --------------------------------------------------------------------------------------------------- */

/* Proven HELLOs and others have separate rates: a replay is never proven. */
static bool within_rate(struct peer *peer, enum freshness_verdict verdict, uint64_t now)
{
	struct token_rate rate = token_rate_make(REGISTRY_HELLO_RATE, REGISTRY_HELLO_BURST);
	return token_take(&rate, verdict == FRESHNESS_PROVEN ? &peer->proven_tat : &peer->newer_tat, now);
}

/* Numbers are moments of the monotonic clock, as those of the cookies that are made without asking here are; but no two
 * are the same. */
static uint64_t next_cookie(struct registry *registry, uint64_t now)
{
	registry->cookies = registry->cookies < now ? now : registry->cookies + 1;
	return registry->cookies;
}

static enum drop_reason judge(struct registry *registry, struct peer *peer, const struct registry_request *request,
			      uint64_t *cookie)
{
	enum freshness_verdict verdict = freshness_judge(&peer->freshness, request->hello->timestamp, request->cookie,
							 request->now);
	*cookie = 0;
	/* Before the rate, so that replays do not use it up. */
	if (verdict != FRESHNESS_STALE && within_rate(peer, verdict, request->now))
		return DROP_NONE;
	if (verdict != FRESHNESS_PROVEN)
		*cookie = next_cookie(registry, request->now);
	return verdict == FRESHNESS_STALE ? DROP_STALE : DROP_HELLO_RATE;
}

/* A pending session that its worker saw confirmed is the active one. */
static void notice_confirmed(struct peer *peer)
{
	if (peer->pending != NULL && session_is_active(peer->pending)) {
		peer->active = peer->pending;
		peer->pending = NULL;
	}
}

static uint32_t reserve_wish(struct pool *pool, const struct ip_address *wish)
{
	uint32_t index;
	if (wish->family == 0 || !pool_index(pool, wish, &index) || pool_held(pool, index))
		return POOL_NONE;
	return pool_reserve(pool, index);
}

/* The configured address, else the last or the wished one, else any. */
static uint32_t reserve_address(struct pool *pool, const struct peer *peer, const struct wire_hello *hello)
{
	if (peer->fixed_index != POOL_NONE)
		return pool_reserve(pool, peer->fixed_index);
	uint32_t index = POOL_NONE;
	if (peer->last_index != POOL_NONE && !pool_held(pool, peer->last_index))
		index = pool_reserve(pool, peer->last_index);
	if (index == POOL_NONE)
		index = reserve_wish(pool, &hello->wish4);
	if (index == POOL_NONE)
		index = reserve_wish(pool, &hello->wish6);
	if (index == POOL_NONE)
		index = pool_reserve(pool, POOL_NONE);
	return index;
}

/* The sessions of one peer are on one worker. Which one follows the address, as the TUN's queues do
 * (tun/queue_steering.h): the worker then finds the session's packets in its own queue. A worker that has no room
 * leaves the session to another one, and passes the packets on. */
static uint32_t take_id(struct registry *registry, const struct session *live, uint32_t index)
{
	struct session_table *table = &registry->table;
	uint32_t worker = live != NULL ? session_shard(&table->sharding, live->id) : index % table->sharding.workers;
	uint32_t id = session_table_take(table, worker);
	if (id == 0 && live == NULL && (worker = session_table_emptiest(table)) != SESSION_WORKERS_MAX)
		id = session_table_take(table, worker);
	return id;
}

/* The sessions of one peer use the address one after the other. */
static struct session *make_session(struct registry *registry, struct peer *peer,
				    const struct registry_request *request)
{
	const struct session *live = peer->active;
	if (!follow_usage(registry, peer, true))
		return NULL;
	if (live == NULL && atomic_load_explicit(&registry->pool.used, memory_order_relaxed) >= registry->max_sessions)
		return NULL;
	uint32_t index = live != NULL ? live->pool_index : reserve_address(&registry->pool, peer, request->hello);
	uint32_t id = index != POOL_NONE ? take_id(registry, live, index) : 0;
	struct session *session = id != 0 ? session_new(id, request->now) : NULL;
	if (session == NULL) {
		if (index != POOL_NONE && live == NULL)
			(void)pool_cancel(&registry->pool, index);
		if (id != 0)
			session_table_give_back(&registry->table, id);
		return NULL;
	}
	session->peer = peer;
	session->pool_index = index;
	session->replaces = live != NULL ? live->id : 0;
	session->order = registry->orders;
	pool_addresses(&registry->pool, index, &session->inner4, &session->inner6);
	if (registry->no_ipv6)
		session->inner6 = (struct ip_prefix){0};
	peer_get(peer);
	peer->pending = session;
	return session;
}

static enum drop_reason begin(struct registry *registry, struct peer *peer, const struct registry_request *request,
			      struct registry_grant *grant)
{
	*grant = (struct registry_grant){.epoch = 1};
	if (peer->removed)
		return DROP_UNKNOWN_PEER;
	enum drop_reason reason = judge(registry, peer, request, &grant->cookie);
	if (reason != DROP_NONE)
		return reason;

	collect_retired(registry);
	notice_confirmed(peer);
	struct session *session = peer->active;
	if (session != NULL && session->id == request->session_id) {
		grant->cancels = peer->pending != NULL ? peer->pending->id : 0;
		grant->epoch = (uint8_t)wire_next_epoch(
			atomic_load_explicit(&session->view.epoch, memory_order_relaxed));
	} else if (peer->pending != NULL) {
		session = peer->pending;
	} else {
		session = grant->made = make_session(registry, peer, request);
		if (session == NULL)
			return DROP_NO_ADDRESS;
	}
	freshness_accept(&peer->freshness, request->hello->timestamp, request->cookie,
			 next_cookie(registry, request->now), request->now);
	grant->session_id = session->id;
	grant->order = ++registry->orders;
	grant->address4 = session->inner4;
	grant->address6 = session->inner6;
	return DROP_NONE;
}

enum drop_reason registry_begin(struct registry *registry, struct peer *peer, const struct registry_request *request,
				struct registry_grant *grant)
{
	lock(registry);
	enum drop_reason reason = begin(registry, peer, request, grant);
	unlock(registry);
	return reason;
}

void registry_abandon(struct registry *registry, const struct registry_grant *grant)
{
	if (grant->made == NULL)
		return;
	lock(registry);
	collect(registry, grant->made);
	unlock(registry);
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
	if (address->family == 0)
		return peer_protocol(peer) == PEER_WIREGUARD ? hold_any_address(registry, peer, error) : 0;
	ip_address_format(address, text);
	if (!pool_index(&registry->pool, address, &index))
		return error_set(error, -EADDRNOTAVAIL, "Address = %s: not one that the gateway can give out", text);
	if (pool_held(&registry->pool, index))
		return error_set(error, -EADDRINUSE, "Address = %s: another peer has the same host number", text);
	pool_hold(&registry->pool, index);
	peer->fixed_index = index;
	return 0;
}

static void remove_networks(struct registry *registry, struct peer *peer, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct network_route *route = networks_exact(&registry->networks, &peer->networks[i]);
		if (route != NULL)
			networks_remove(&registry->networks, route);
	}
}

static int add_networks(struct registry *registry, struct peer *peer, const struct registry_peer *from,
			struct error *error)
{
	if (from->network_count == 0)
		return 0;
	peer->networks = calloc(from->network_count, sizeof *peer->networks);
	if (peer->networks == NULL)
		return error_set(error, -ENOMEM, "peer: out of memory");
	for (size_t i = 0; i < from->network_count; i++) {
		struct network_route *route;
		peer->networks[i] = ip_prefix_network(&from->networks[i]);
		int result = networks_add(&registry->networks, &peer->networks[i], peer, &route, error);
		if (result != 0) {
			remove_networks(registry, peer, i);
			return result;
		}
	}
	peer->network_count = (uint32_t)from->network_count;
	return 0;
}

static int add_peer(struct registry *registry, struct peer *peer, const struct registry_peer *from, struct error *error)
{
	int result = hold_address(registry, peer, &from->address, error);
	if (result != 0)
		return result;
	result = add_networks(registry, peer, from, error);
	if (result == 0) {
		result = peers_add(&registry->peers, peer);
		if (result == 0)
			return 0;
		remove_networks(registry, peer, peer->network_count);
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
	memcpy(peer->preshared_key, from->preshared_key, KEY_SIZE);
	peer_set_limits(peer, &from->limits);
	/* Cookies from before a peer was removed are no proof for the one that has its key now. */
	peer->freshness = from->freshness != NULL ? *from->freshness : (struct freshness){.cookie = registry->spent};
	int result = from->name != NULL ? peer_rename(peer, from->name) : 0;
	if (result == 0 && from->protocol == PEER_WIREGUARD)
		result = peer_speak_wireguard(peer);
	if (result == 0 && from->protocol == PEER_WIREGUARD)
		result = peer_wireguard_reach(peer->wireguard, &from->contact);
	(void)follow_usage(registry, peer, false);
	if (result == 0)
		result = add_peer(registry, peer, from, error);
	else
		error_set(error, result, "peer: out of memory");
	if (result != 0)
		peer_discard(&registry->peers, peer);
	else
		count_quotas(registry, &from->limits, 1);
	return result;
}

int registry_add_peer(struct registry *registry, const struct registry_peer *from, struct error *error)
{
	lock(registry);
	int result = make_peer(registry, from, error);
	unlock(registry);
	return result;
}

int registry_rename_peer(struct registry *registry, struct peer *peer, const char *name)
{
	const char *old = peer_name(peer);
	if (old == name || (old != NULL && name != NULL && strcmp(old, name) == 0))
		return 0;
	lock(registry);
	int result = peer_rename(peer, name);
	unlock(registry);
	return result;
}

int registry_reach_peer(struct registry *registry, struct peer *peer, const struct contact *contact)
{
	lock(registry);
	int result = peer_wireguard_reach(peer->wireguard, contact);
	unlock(registry);
	return result;
}

static void session_ids(const struct peer *peer, uint32_t ids[2])
{
	ids[0] = peer->active != NULL ? peer->active->id : 0;
	ids[1] = peer->pending != NULL ? peer->pending->id : 0;
}

void registry_limit_peer(struct registry *registry, struct peer *peer, const struct peer_limits *limits,
			 uint32_t ids[2])
{
	lock(registry);
	struct peer_limits before = peer_limits(peer);
	count_quotas(registry, &before, (uint32_t)-1);
	count_quotas(registry, limits, 1);
	peer_set_limits(peer, limits);
	session_ids(peer, ids);
	/* Without memory nothing is counted until the next session. */
	(void)follow_usage(registry, peer, ids[0] != 0 || ids[1] != 0);
	unlock(registry);
}

bool registry_peer_sessions(struct registry *registry, const uint8_t public_key[KEY_SIZE], uint32_t ids[2])
{
	lock(registry);
	collect_retired(registry);
	const struct peer *peer = peers_find(&registry->peers, public_key);
	if (peer != NULL)
		session_ids(peer, ids);
	unlock(registry);
	return peer != NULL;
}

bool registry_address_held(struct registry *registry, uint32_t index)
{
	lock(registry);
	bool held = pool_held(&registry->pool, index);
	unlock(registry);
	return held;
}

uint32_t registry_choose_address(struct registry *registry, uint64_t number)
{
	lock(registry);
	uint32_t index = pool_choose(&registry->pool, number);
	unlock(registry);
	return index;
}

const struct session *registry_peer_session(struct registry *registry, const struct peer *peer)
{
	lock(registry);
	const struct session *session = peer->active;
	if (peer->pending != NULL && session_is_active(peer->pending))
		session = peer->pending;
	unlock(registry);
	return session;
}

bool registry_peer_freshness(struct registry *registry, const uint8_t public_key[KEY_SIZE], struct freshness *freshness)
{
	lock(registry);
	const struct peer *peer = peers_find(&registry->peers, public_key);
	if (peer != NULL)
		*freshness = peer->freshness;
	unlock(registry);
	return peer != NULL;
}

bool registry_remove_peer(struct registry *registry, const uint8_t public_key[KEY_SIZE], uint32_t ids[2])
{
	lock(registry);
	struct peer *peer = peers_find(&registry->peers, public_key);
	if (peer != NULL) {
		session_ids(peer, ids);
		if (peer->fixed_index != POOL_NONE)
			pool_unhold(&registry->pool, peer->fixed_index);
		remove_networks(registry, peer, peer->network_count);
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
	unlock(registry);
	return peer != NULL;
}

/* --- what the data path sees -------------------------------------------------------------------------------------- */

/* The routes may have gone with a peer that was removed, so they are looked up anew; and another peer may have these
 * networks by then, which are not for this session. */
void registry_attach(struct registry *registry, const struct session *session)
{
	(void)pool_activate(&registry->pool, session->pool_index, session->id, session->replaces);
	for (uint32_t i = 0; i < session->peer->network_count; i++) {
		struct network_route *route = networks_exact(&registry->networks, &session->peer->networks[i]);
		if (route != NULL && route->owner == session->peer)
			route_activate(route, session->id);
	}
}

void registry_detach(struct registry *registry, const struct session *session)
{
	(void)pool_deactivate(&registry->pool, session->pool_index, session->id);
	for (uint32_t i = 0; i < session->peer->network_count; i++) {
		struct network_route *route = networks_exact(&registry->networks, &session->peer->networks[i]);
		if (route != NULL)
			route_deactivate(route, session->id);
	}
}

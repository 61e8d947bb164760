// SPDX-License-Identifier: Apache-2.0
/* Handshakes at the registry: which session one makes keys for, and with which address. */
#include "core/sessions/registry_inside.h"
#include "crypto/rate_limit.h"

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

/* The number of a cookie with which the next HELLO is fresh. That of the period is the key of mac2 as well: if there is
 * load by then, the client needs no other one. */
static uint64_t helpful_cookie(struct registry *registry, const struct peer *peer,
			       const struct registry_request *request)
{
	bool counts = freshness_judge(&peer->freshness, request->hello->timestamp, request->period, request->now) ==
		      FRESHNESS_PROVEN;
	return counts ? request->period : next_cookie(registry, request->now);
}

/* Whether the peer is one for us to serve. While its block was another gateway's, that one may have accepted HELLOs of
 * it which we have not seen, and which must not count here: so it is as after our start, and its first one needs a
 * cookie. */
static bool follow_block(const struct registry *registry, struct peer *peer, uint64_t now)
{
	const struct fence *fence = registry->fence;
	if (fence == NULL)
		return true;
	unsigned block = block_of_index(peer->fixed_index, fence->peers);
	if (!fence_serves(fence, block, now))
		return false;
	uint32_t term = fence_term(fence, block);
	if (peer->term != term)
		peer->freshness.proven = false;
	peer->term = term;
	return true;
}

/* Of a peer that is another gateway's: it may be handed on, but a recording must not be without end. */
static enum drop_reason refuse_foreign(struct peer *peer, bool proven, uint64_t now)
{
	enum freshness_verdict verdict = proven ? FRESHNESS_PROVEN : FRESHNESS_NEWER;
	return within_rate(peer, verdict, now) ? DROP_BLOCK : DROP_HELLO_RATE;
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
		*cookie = helpful_cookie(registry, peer, request);
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

/* A new ID of this worker, in a cluster of the address's block. */
static uint32_t take_id_of(struct registry *registry, uint32_t worker, uint32_t index)
{
	struct session_table *table = &registry->table;
	if (registry->fence == NULL)
		return session_table_take(table, worker);
	return session_table_take_in(table, block_of_index(index, registry->fence->peers), worker);
}

/* The sessions of one peer are on one worker. Which one follows the address, as the TUN's queues do
 * (tun/queue_steering.h): the worker then finds the session's packets in its own queue. A worker that has no room
 * leaves the session to another one, and passes the packets on. */
static uint32_t take_id(struct registry *registry, const struct session *live, uint32_t index)
{
	struct session_table *table = &registry->table;
	uint32_t worker = live != NULL ? session_shard(&table->sharding, live->id) : index % table->sharding.workers;
	uint32_t id = take_id_of(registry, worker, index);
	if (id == 0 && live == NULL && (worker = session_table_emptiest(table)) != SESSION_WORKERS_MAX)
		id = take_id_of(registry, worker, index);
	return id;
}

static void give_addresses(const struct registry *registry, struct session *session)
{
	pool_addresses(&registry->pool, session->pool_index, &session->inner4, &session->inner6);
	if (registry->no_ipv6)
		session->inner6 = (struct ip_prefix){0};
}

/* The sessions of one peer use the address one after the other. */
static struct session *make_session(struct registry *registry, struct peer *peer,
				    const struct registry_request *request)
{
	const struct session *live = peer->active;
	if (!registry_follow_usage(registry, peer, true))
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
	give_addresses(registry, session);
	peer_get(peer);
	peer->pending = session;
	return session;
}

enum drop_reason registry_choose_session(struct registry *registry, struct peer *peer,
					 const struct registry_request *request, uint32_t renewed,
					 struct registry_grant *grant)
{
	struct session *session = peer->active;
	if (!registry_serves_index(registry, peer->fixed_index, request->now))
		return DROP_BLOCK;
	if (session != NULL && session->id == renewed) {
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
	grant->session_id = session->id;
	grant->order = ++registry->orders;
	grant->address4 = session->inner4;
	grant->address6 = session->inner6;
	return DROP_NONE;
}

static enum drop_reason begin(struct registry *registry, struct peer *peer, const struct registry_request *request,
			      struct registry_grant *grant)
{
	if (peer->removed)
		return DROP_UNKNOWN_PEER;
	if (!follow_block(registry, peer, request->now))
		return refuse_foreign(peer, request->cookie != 0, request->now);
	enum drop_reason reason = judge(registry, peer, request, &grant->cookie);
	if (reason != DROP_NONE)
		return reason;

	registry_collect_locked(registry);
	notice_confirmed(peer);
	reason = registry_choose_session(registry, peer, request, request->session_id, grant);
	if (reason == DROP_NONE)
		freshness_accept(&peer->freshness, request->hello->timestamp, request->cookie,
				 next_cookie(registry, request->now), request->now);
	return reason;
}

enum drop_reason registry_begin(struct registry *registry, struct peer *peer, const struct registry_request *request,
				struct registry_grant *grant)
{
	*grant = (struct registry_grant){.epoch = 1};
	registry_lock(registry);
	enum drop_reason reason = begin(registry, peer, request, grant);
	registry_unlock(registry);
	return reason;
}

static enum drop_reason begin_wireguard(struct registry *registry, struct peer *peer,
					const struct registry_request *request, struct registry_grant *grant)
{
	const uint8_t *timestamp = request->hello->timestamp;
	if (peer->removed)
		return DROP_UNKNOWN_PEER;
	if (!follow_block(registry, peer, request->now))
		return refuse_foreign(peer, false, request->now);
	enum freshness_verdict verdict = freshness_judge_wireguard(&peer->freshness, timestamp, request->now);
	if (verdict != FRESHNESS_NEWER)
		return verdict == FRESHNESS_STALE ? DROP_STALE : DROP_HELLO_RATE;

	registry_collect_locked(registry);
	notice_confirmed(peer);
	uint32_t live = peer->active != NULL ? peer->active->id : 0;
	enum drop_reason reason = registry_choose_session(registry, peer, request, live, grant);
	if (reason != DROP_NONE)
		return reason;
	freshness_accept_wireguard(&peer->freshness, timestamp, request->now);
	const struct session *session = peer->active != NULL ? peer->active : peer->pending;
	unsigned epoch = atomic_load_explicit(&session->view.epoch, memory_order_relaxed);
	grant->epoch = (uint8_t)wg_next_epoch(epoch, false);
	return DROP_NONE;
}

enum drop_reason registry_begin_wireguard(struct registry *registry, struct peer *peer,
					  const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t now,
					  struct registry_grant *grant)
{
	struct wire_hello hello = {0}; /* no wish: the address is held for the peer */
	const struct registry_request request = {.hello = &hello, .now = now};
	memcpy(hello.timestamp, timestamp, sizeof hello.timestamp);
	*grant = (struct registry_grant){.epoch = 1};
	registry_lock(registry);
	enum drop_reason reason = begin_wireguard(registry, peer, &request, grant);
	registry_unlock(registry);
	return reason;
}

void registry_adopt(struct registry *registry, struct session *session)
{
	struct peer *peer = session->peer;
	registry_lock(registry);
	session_table_set_taken(&registry->table, session->id);
	if (peer->active == NULL && peer->pending == NULL)
		(void)pool_reserve(&registry->pool, session->pool_index);
	*(session_is_active(session) ? &peer->active : &peer->pending) = session;
	registry_forsake(peer);
	peer_get(peer);
	give_addresses(registry, session);
	(void)registry_follow_usage(registry, peer,
				    true); /* without memory nothing is counted until the next session */
	registry_unlock(registry);
}

void registry_abandon(struct registry *registry, const struct registry_grant *grant)
{
	if (grant->made == NULL)
		return;
	registry_lock(registry);
	registry_collect_session(registry, grant->made);
	registry_unlock(registry);
}

// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster.h"

#include <sodium.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/log.h"

#define RELEASE_LOOK_NS NS_PER_MS /* how often workers are woken and asked while a release waits */

int cluster_open(struct cluster *cluster, const struct cluster_params *params, struct error *error)
{
	*cluster = (struct cluster){.params = *params,
				    .instance = (uint64_t)randombytes_random() << 16 | 1, /* fits in JSON's integers */
				    .timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)};
	return cluster->timer_fd >= 0 ? 0 : error_set(error, -errno, "timerfd: %s", strerror(errno));
}

void cluster_close(struct cluster *cluster)
{
	close(cluster->timer_fd);
}

/* --- what is served ----------------------------------------------------------------------------------------------- */

static struct block_set served(const struct cluster *cluster, uint64_t now)
{
	struct block_set set = {0};
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		if (fence_serves(cluster->params.fence, block, now))
			block_set_add(&set, block);
	}
	return set;
}

static bool log_those(const struct block_set *set, const char *what)
{
	char text[BLOCK_SET_TEXT_MAX];
	if (block_set_empty(set))
		return false;
	log_info("cluster: blocks %s %s", block_set_format(set, text), what);
	return true;
}

static void log_change(struct cluster *cluster, uint64_t now, const char *why_lost)
{
	struct block_set now_served = served(cluster, now), lost = cluster->served, gained = now_served;
	for (unsigned i = 0; i < ARRAY_SIZE(lost.words); i++) {
		lost.words[i] &= ~now_served.words[i];
		gained.words[i] &= ~cluster->served.words[i];
	}
	bool changed = log_those(&lost, why_lost);
	changed |= log_those(&gained, "are served here");
	cluster->served = now_served;
	if (changed)
		cluster->params.effects.changed(cluster->params.effects.context);
}

/* --- releases ----------------------------------------------------------------------------------------------------- */

static void answer_releases(struct cluster *cluster)
{
	const struct cluster_effects *effects = &cluster->params.effects;
	size_t left = 0;
	for (size_t i = 0; i < cluster->release_count; i++) {
		const struct cluster_release *release = &cluster->releases[i];
		if (effects->fenced(effects->context, release->version))
			effects->released(effects->context, release->ticket, release->block);
		else
			cluster->releases[left++] = *release;
	}
	cluster->release_count = left;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* Absolute; UINT64_MAX: never. Setting the time also takes back that the descriptor is readable. */
static void set_timer(const struct cluster *cluster, uint64_t at)
{
	struct itimerspec next = {0};
	if (at != UINT64_MAX)
		next.it_value = (struct timespec){.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)};
	(void)timerfd_settime(cluster->timer_fd, TFD_TIMER_ABSTIME, &next, NULL);
}

/* For the next deadline, or to look at releases. */
static void arm(const struct cluster *cluster, uint64_t now)
{
	uint64_t next = fence_expire(cluster->params.fence, now);
	if (cluster->release_count != 0 && now + RELEASE_LOOK_NS < next)
		next = now + RELEASE_LOOK_NS;
	set_timer(cluster, next);
}

/* Workers look at the time by themselves when they have something to do; those that have nothing are woken, so that
 * BYE leaves now. */
static void expire(struct cluster *cluster, uint64_t now)
{
	struct fence *fence = cluster->params.fence;
	uint64_t version = fence_version(fence);
	(void)fence_expire(fence, now);
	if (fence_version(fence) == version)
		return;
	atomic_fetch_add_explicit(&cluster->fences, 1, memory_order_relaxed);
	cluster->params.effects.wake(cluster->params.effects.context);
	log_change(cluster, now, "are served no more: their deadline is past; see the log of shardtun-agent");
}

void cluster_step(struct cluster *cluster)
{
	const struct cluster_effects *effects = &cluster->params.effects;
	uint64_t now = clock_monotonic(cluster->params.clock);
	expire(cluster, now);
	answer_releases(cluster);
	if (cluster->release_count != 0)
		effects->wake(effects->context);
	arm(cluster, now);
}

/* What is past its deadline is lost first: it begins anew, even if it is named. */
int cluster_own(struct cluster *cluster, const struct block_set *blocks, uint64_t until, struct error *error)
{
	const struct cluster_effects *effects = &cluster->params.effects;
	uint64_t now = clock_monotonic(cluster->params.clock);
	expire(cluster, now);
	int changed = fence_own(cluster->params.fence, blocks, until, now);
	if (changed < 0)
		return error_set(error, changed,
				 "a deadline further than %llu s away: not one of this machine's CLOCK_BOOTTIME",
				 (unsigned long long)(FENCE_FURTHEST_NS / NS_PER_S));
	if (changed != 0)
		effects->wake(effects->context);
	log_change(cluster, now, "are served no more: they are another gateway's, or free");
	arm(cluster, now);
	return 0;
}

void cluster_release(struct cluster *cluster, unsigned block, struct control_ticket ticket)
{
	const struct cluster_effects *effects = &cluster->params.effects;
	uint64_t now = clock_monotonic(cluster->params.clock);
	expire(cluster, now);
	(void)fence_release(cluster->params.fence, block, now);
	cluster->releases[cluster->release_count++] = (struct cluster_release){
		.ticket = ticket, .block = block, .version = fence_version(cluster->params.fence)};
	effects->wake(effects->context);
	log_change(cluster, now, "are served no more: they are handed over");
	arm(cluster, now);
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

unsigned cluster_count(const struct cluster *cluster)
{
	unsigned count = 0;
	uint64_t now = clock_monotonic(cluster->params.clock);
	for (unsigned block = 1; block < BLOCK_COUNT; block++)
		count += fence_serves(cluster->params.fence, block, now);
	return count;
}

json_t *cluster_blocks(const struct cluster *cluster)
{
	json_t *blocks = json_array();
	uint64_t now = clock_monotonic(cluster->params.clock);
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		if (fence_serves(cluster->params.fence, block, now))
			json_array_append_new(blocks, json_integer((json_int_t)block));
	}
	return blocks;
}

json_t *cluster_describe(const struct cluster *cluster)
{
	const struct fence *fence = cluster->params.fence;
	json_t *blocks = json_array();
	uint64_t now = clock_monotonic(cluster->params.clock);
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		uint64_t until = fence_until(fence, block);
		if (until <= now)
			continue;
		json_array_append_new(blocks,
				      json_pack("{s:i, s:I, s:I}", "block", (int)block, "until_ms",
						(json_int_t)((until - now) / NS_PER_MS), "sessions",
						(json_int_t)registry_block_sessions(cluster->params.registry, block)));
	}
	return json_pack("{s:s, s:I, s:o, s:I}", "node", cluster->params.node, "block_size", (json_int_t)fence->peers,
			 "blocks", blocks, "fences", (json_int_t)cluster->fences);
}

// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/quota.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"

enum { QUOTA_SLICE = 1024 /* records that are looked at while handshakes wait for the mutex */ };
#define QUOTA_JUMP_NS (2 * NS_PER_S) /* by so much the wall clock differs from the monotonic one when it was set */

/* Of a peer whose quota was used up, or is free again. */
struct quota_news {
	uint8_t public_key[KEY_SIZE];
	bool over;
	uint64_t used;
};

/* Some of the records: what is to be written and said of them, once the mutex is free again. */
struct quota_slice {
	struct quota *quota;
	bool all; /* all lines are to be written */
	uint32_t from;
	uint32_t over;
	uint32_t began[CALENDAR_PERIODS], back;
	size_t news_count;
	struct quota_news news[QUOTA_SLICE];
	bool written[QUOTA_SLICE];
	char lines[QUOTA_SLICE][QUOTA_LINE];
};

/* --- records, under the mutex ------------------------------------------------------------------------------------- */

static void note_turn(struct quota_slice *slice, uint32_t index, struct usage *usage)
{
	unsigned period = usage->period;
	enum usage_turn turn = usage_follow_clock(&slice->quota->registry->usages, index, usage);
	if (turn == USAGE_BEGAN)
		slice->began[period]++;
	if (turn == USAGE_BACK)
		slice->back++;
}

static void note_news(struct quota_slice *slice, const struct usage *usage, bool over, uint64_t used)
{
	struct quota_news *news = &slice->news[slice->news_count++];
	*news = (struct quota_news){.over = over, .used = used};
	memcpy(news->public_key, usage->public_key, KEY_SIZE);
}

static void judge(struct quota_slice *slice, struct usage *usage, uint64_t used)
{
	bool over = usage->present && used >= usage->quota;
	slice->over += over;
	if (over && !usage->told)
		note_news(slice, usage, true, used);
	else if (!over && usage->over)
		note_news(slice, usage, false, used);
	usage->over = over;
	if (usage->present)
		usage->told = over;
}

static void format(char line[QUOTA_LINE], const struct usage *usage, uint64_t used)
{
	struct usage_line from = {.period = (enum calendar_period)usage->period,
				  .number = usage->number,
				  .clock = usage->clock,
				  .used = used};
	memcpy(from.public_key, usage->public_key, KEY_SIZE);
	quota_line_format(usage->taken ? &from : NULL, line);
}

static void look_at(uint32_t index, struct usage *usage, void *context)
{
	struct quota_slice *slice = context;
	if (usage->taken && usage->period == CALENDAR_PERIODS)
		return; /* its peer gets it at this moment */
	if (usage->taken)
		note_turn(slice, index, usage);
	uint64_t used = atomic_load_explicit(&usage->used, memory_order_relaxed);
	judge(slice, usage, used);
	if (!slice->all && !usage->changed && used == usage->written)
		return;
	format(slice->lines[index - slice->from], usage, used);
	slice->written[index - slice->from] = true;
	usage->written = used;
	usage->changed = false;
}

/* --- what is said ------------------------------------------------------------------------------------------------- */

static void raise_event(struct quota *quota, const struct quota_news *news, uint32_t session_id)
{
	struct event *event = event_new(&quota->events, EVENT_QUOTA, clock_monotonic(quota->clock));
	const struct peer *peer = peers_find(&quota->registry->peers, news->public_key);
	if (event == NULL || peer == NULL) {
		free(event);
		return;
	}
	const char *name = peer_name(peer);
	struct peer_limits limits = peer_limits(peer);
	memcpy(event->peer, news->public_key, KEY_SIZE);
	(void)snprintf(event->name, sizeof event->name, "%s", name != NULL ? name : "");
	event_note_protocol(event, peer);
	event->session_id = session_id;
	event->quota = limits.quota;
	event->period = calendar_name(limits.period);
	event->used = news->used;
	event->rate = limits.after;
	event_post(&quota->events, event);
}

/* The worker finds out by itself with the next packet; told, it also lets go what waits for a lower rate. */
static void tell(struct quota *quota, const struct quota_news *news)
{
	uint32_t ids[2] = {0};
	(void)registry_peer_sessions(quota->registry, news->public_key, ids);
	if (news->over)
		raise_event(quota, news, ids[0] != 0 ? ids[0] : ids[1]);
	for (size_t i = 0; !news->over && quota->ender != NULL && i < ARRAY_SIZE(ids); i++) {
		if (ids[i] != 0)
			quota->ender->limit(quota->ender->context, ids[i]);
	}
}

static bool was_put_forward(const struct quota *quota, uint64_t wall, uint64_t monotonic)
{
	int64_t jump = (int64_t)(wall - quota->wall) - (int64_t)(monotonic - quota->monotonic);
	return quota->wall != 0 && jump > (int64_t)QUOTA_JUMP_NS;
}

static void log_periods(const struct quota *quota, uint64_t wall, uint64_t monotonic)
{
	const struct quota_slice *slice = quota->slice;
	char text[CALENDAR_TEXT];
	for (unsigned i = 0; i < CALENDAR_PERIODS; i++) {
		enum calendar_period period = (enum calendar_period)i;
		const char *first = calendar_format(period, calendar_number(period, wall), text);
		if (slice->began[i] != 0)
			log_info("quotas: a new %s began on %s%s: %u clients start from 0", calendar_name(period),
				 first,
				 was_put_forward(quota, wall, monotonic) ? ", since the clock was put forward" : "",
				 slice->began[i]);
	}
	if (slice->back != 0)
		log_warning("quotas: the clock was set back, to %s: %u clients keep what they used in a later period",
			    calendar_format(CALENDAR_DAY, calendar_number(CALENDAR_DAY, wall), text), slice->back);
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* Lines that follow each other by one call. */
static int write_lines(struct quota *quota, size_t count)
{
	struct quota_slice *slice = quota->slice;
	int result = 0;
	for (size_t i = 0; result == 0 && i < count; i++) {
		size_t first = i;
		while (i < count && slice->written[i])
			i++;
		if (i != first)
			result = quota_file_write(&quota->file, slice->from + (uint32_t)first, slice->lines[first],
						  i - first);
	}
	return result;
}

static bool anything_written(const struct quota_slice *slice, size_t count)
{
	return memchr(slice->written, true, count) != NULL;
}

static size_t next_slice(struct quota_slice *slice)
{
	slice->news_count = 0;
	memset(slice->written, 0, sizeof slice->written);
	return usages_visit(&slice->quota->registry->usages, slice->from, QUOTA_SLICE, look_at, slice);
}

/* Looks at all records, also when the file cannot be written. 0, a negative errno, or -ESTALE: the file is not as it
 * was left, and all is to be written again. */
static int pass(struct quota *quota, bool all)
{
	struct quota_slice *slice = quota->slice;
	bool looked = all;
	int result = 0;
	slice->over = 0;
	slice->all = all;
	slice->from = 0;
	for (size_t count; (count = next_slice(slice)) != 0; slice->from += (uint32_t)count) {
		for (size_t i = 0; i < slice->news_count; i++)
			tell(quota, &slice->news[i]);
		if (!anything_written(slice, count))
			continue;
		if (!looked && quota_file_look(&quota->file) != QUOTA_FILE_GOOD)
			result = -ESTALE;
		looked = true;
		if (result == 0)
			result = write_lines(quota, count);
	}
	atomic_store_explicit(&quota->over, slice->over, memory_order_relaxed);
	return result;
}

static int rewrite(struct quota *quota, bool replace)
{
	int result = replace ? quota_file_replace(&quota->file) : 0;
	if (result == 0)
		result = quota_file_begin(&quota->file);
	int passed = pass(quota, true);
	if (result == 0)
		result = passed;
	if (result == 0)
		result = quota_file_cut(&quota->file, quota->slice->from);
	return result == 0 && replace ? quota_file_rename(&quota->file) : result;
}

static int rewrite_found(struct quota *quota)
{
	enum quota_file_state state = quota_file_look(&quota->file);
	if (!quota->failed && state != QUOTA_FILE_GOOD)
		log_warning("QuotaFile = %s: another program %s it: it is written anew", quota->path,
			    state == QUOTA_FILE_GONE ? "removed or replaced" : "truncated");
	return rewrite(quota, state == QUOTA_FILE_GONE);
}

static void report(struct quota *quota, int result)
{
	quota->rewrite = result != 0;
	if (result != 0 && !quota->failed)
		log_warning("QuotaFile = %s: cannot be written (%s): what clients use is lost at the end, unless it "
			    "can be written again until then",
			    quota->path, strerror(-result));
	if (result == 0 && quota->failed)
		log_info("QuotaFile = %s: is written again", quota->path);
	quota->failed = result != 0;
}

void quota_step(struct quota *quota)
{
	struct quota_slice *slice = quota->slice;
	uint64_t wall = clock_wall(quota->clock), monotonic = clock_monotonic(quota->clock);
	usages_set_clock(&quota->registry->usages, wall);
	if (slice == NULL || quota->held)
		return; /* there is no quota, or another process counts */
	memset(slice->began, 0, sizeof slice->began);
	slice->back = 0;
	int result = quota->rewrite ? rewrite_found(quota) : pass(quota, false);
	if (result == -ESTALE)
		result = rewrite_found(quota);
	log_periods(quota, wall, monotonic);
	report(quota, result);
	quota->wall = wall;
	quota->monotonic = monotonic;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int load(struct quota *quota, struct error *error)
{
	struct quota_file_read read;
	int result = quota_file_load(&quota->file, &quota->registry->usages, &read, error);
	if (result != 0)
		return result;
	if (read.malformed != 0)
		log_warning("QuotaFile = %s:%zu: %zu lines, this is the first, are none that a gateway wrote: skipped",
			    quota->path, read.first_malformed, read.malformed);
	registry_follow_usages(quota->registry);
	if (quota->held)
		return 0;
	/* A new file gets its header in place; one that was read is left alone until the next is complete. */
	result = read.rewrite ? rewrite(quota, true) : quota_file_begin(&quota->file);
	return result == 0 ? 0
			   : error_set(error, result, "QuotaFile = %s: cannot be written (%s)", quota->path,
				       strerror(-result));
}

/* One that is given, and is another file than the configuration's, is not needed. */
static int find_file(struct quota *quota, const struct quota_file_owner *owner, bool make_directory, int *given,
		     struct error *error)
{
	if (given != NULL && *given >= 0) {
		int result = quota_file_adopt(&quota->file, quota->path, *given, owner, error);
		quota->held = result == 0;
		if (quota->held)
			*given = -1;
		if (result != -ESTALE)
			return result;
	}
	return quota_file_open(&quota->file, quota->path, make_directory, owner, error);
}

static int open_file(struct quota *quota, const struct quota_file_owner *owner, bool make_directory, int *given,
		     struct error *error)
{
	quota->slice = calloc(1, sizeof *quota->slice);
	if (quota->slice == NULL)
		return error_set(error, -ENOMEM, "quotas: out of memory");
	quota->slice->quota = quota;
	usages_set_clock(&quota->registry->usages, clock_wall(quota->clock));
	int result = find_file(quota, owner, make_directory, given, error);
	if (result == 0)
		result = load(quota, error);
	if (result == 0) {
		quota_step(quota);
		return 0;
	}
	quota_file_close(&quota->file);
	free(quota->slice);
	quota->slice = NULL;
	return result;
}

int quota_open(struct quota *quota, const struct quota_params *params, struct error *error)
{
	*quota = (struct quota){.registry = params->registry,
				.clock = params->clock,
				.ender = params->ender,
				.path = params->path,
				.file = {.fd = -1}};
	event_source_init(&quota->events, params->events, 1);
	if (atomic_load_explicit(&quota->registry->quotas, memory_order_relaxed) == 0)
		return 0;
	return open_file(quota, &params->owner, true, params->given, error);
}

/* The other process's records were in another order. */
void quota_take_over(struct quota *quota)
{
	if (!quota->held)
		return;
	quota->held = false;
	report(quota, rewrite(quota, true));
	quota_step(quota);
}

void quota_close(struct quota *quota)
{
	quota->ender = NULL;
	quota_step(quota);
	quota_file_close(&quota->file);
	free(quota->slice);
	quota->slice = NULL;
}

int quota_ready(struct quota *quota, struct error *error)
{
	const struct quota_file_owner same = {0};
	return quota->slice != NULL ? 0 : open_file(quota, &same, false, NULL, error);
}

int quota_reset(struct quota *quota, const uint8_t public_key[KEY_SIZE], struct error *error)
{
	const struct peer *peer = peers_find(&quota->registry->peers, public_key);
	if (peer == NULL)
		return error_set(error, -ENOENT, "there is no such peer");
	if (peer_limits(peer).quota == 0)
		return error_set(error, -ENOENT, "this peer has no quota");
	(void)usages_reset(&quota->registry->usages, public_key);
	quota->registry->changes++;
	quota_step(quota);
	return 0;
}

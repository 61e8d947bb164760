// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/reconcile.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/log.h"

enum {
	PARTS_MAX = 16,
	AT_ONCE = 32, /* times in a row that a part is put back without waiting: more often than a script does it, and
		       * a few seconds of two programs that undo each other's work */
	WAIT_MOST_S = 60, /* between two tries */
};

#define SETTLE (20 * NS_PER_MS)	 /* one change comes as several notices */
#define LOOK   (250 * NS_PER_MS) /* between looks at a part that is pending, without a notice */
#define LONG   (2 * NS_PER_S)	 /* pending for so long, with a reason: it is not in force as far as is known */

/* What a part's function is called for. */
enum stage { STAGE_COMPARE, STAGE_RESTORE, STAGE_CHECK };

struct part {
	struct reconcile_part is;
	uint64_t due;	     /* monotonic ns of the next comparison */
	uint64_t not_before; /* monotonic ns: left alone until then */
	uint64_t restored_at;
	uint64_t row;	/* ns: a second for each time that it was put back, less the time that it stayed */
	unsigned times; /* the same in times */
	char first[96];
	struct error why; /* empty while in force, and while it is only left alone */
	enum stage stage;
	bool applies;		      /* the restoring is a setting up: reconciler_apply() */
	bool lacking;		      /* logged, or the caller of reconciler_apply() was told */
	uint64_t pending_since;	      /* monotonic ns; 0: it is not */
	struct reconcile_found found; /* by restoring */
	atomic_bool wanted, in_force;
};

struct reconciler {
	const struct clock *clock;
	reconcile_tell_fn *tell;
	void *context;
	int timer_fd;
	size_t count;
	struct part parts[PARTS_MAX];
	_Atomic uint64_t restored[RECONCILE_KIND_COUNT];
};

void reconcile_missing(struct reconcile_found *found, const char *format, ...)
{
	if (found->missing++ != 0)
		return;
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(found->first, sizeof found->first, format, arguments);
	va_end(arguments);
}

void reconcile_left(struct reconcile_found *found, int result, const struct error *error)
{
	if (result != 0 && found->left++ == 0)
		found->error = *error;
}

const char *reconcile_label(enum reconcile_kind kind)
{
	static const char *const labels[] = {
#define RECONCILE_LABEL(name, text) [RECONCILE_##name] = #name,
		RECONCILE_KINDS(RECONCILE_LABEL)
#undef RECONCILE_LABEL
	};
	return labels[kind];
}

const char *reconcile_text(enum reconcile_kind kind)
{
	static const char *const texts[] = {
#define RECONCILE_TEXT(name, text) [RECONCILE_##name] = (text),
		RECONCILE_KINDS(RECONCILE_TEXT)
#undef RECONCILE_TEXT
	};
	return texts[kind];
}

struct reconciler *reconciler_new(const struct clock *clock, reconcile_tell_fn *tell, void *context,
				  struct error *error)
{
	struct reconciler *reconciler = calloc(1, sizeof *reconciler);
	if (reconciler == NULL) {
		error_set(error, -ENOMEM, "reconciler: out of memory");
		return NULL;
	}
	reconciler->clock = clock;
	reconciler->tell = tell;
	reconciler->context = context;
	reconciler->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (reconciler->timer_fd >= 0)
		return reconciler;
	error_set(error, -errno, "timer: %s", strerror(errno));
	free(reconciler);
	return NULL;
}

void reconciler_free(struct reconciler *reconciler)
{
	if (reconciler == NULL)
		return;
	close(reconciler->timer_fd);
	free(reconciler);
}

int reconciler_add(struct reconciler *reconciler, const struct reconcile_part *part)
{
	if (reconciler->count == PARTS_MAX)
		return -ENOSPC;
	struct part *added = &reconciler->parts[reconciler->count++];
	added->is = *part;
	if (added->is.round == 0)
		added->is.round = RECONCILE_ROUND;
	return 0;
}

int reconciler_fd(const struct reconciler *reconciler)
{
	return reconciler->timer_fd;
}

static bool is_of(const struct part *part, unsigned kinds)
{
	return (kinds & RECONCILE_BIT(part->is.kind)) != 0;
}

/* --- when --------------------------------------------------------------------------------------------------------- */

static void arm(struct reconciler *reconciler)
{
	uint64_t now = clock_monotonic(reconciler->clock), first = UINT64_MAX;
	for (size_t i = 0; i < reconciler->count; i++) {
		if (reconciler->parts[i].due != 0 && reconciler->parts[i].due < first)
			first = reconciler->parts[i].due;
	}
	uint64_t in = first > now ? first - now : 1;
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(in / NS_PER_S), .tv_nsec = (long)(in % NS_PER_S)}};
	if (first == UINT64_MAX)
		when = (struct itimerspec){0};
	(void)timerfd_settime(reconciler->timer_fd, 0, &when, NULL);
}

static void run_at(struct part *part, uint64_t when)
{
	if (part->due == 0 || when < part->due)
		part->due = when;
}

void reconciler_notice(struct reconciler *reconciler, unsigned kinds)
{
	uint64_t when = clock_monotonic(reconciler->clock) + SETTLE;
	for (size_t i = 0; i < reconciler->count; i++) {
		if (is_of(&reconciler->parts[i], kinds))
			run_at(&reconciler->parts[i], when);
	}
	arm(reconciler);
}

void reconciler_hurry(struct reconciler *reconciler)
{
	for (size_t i = 0; i < reconciler->count; i++)
		reconciler->parts[i].not_before = 0;
	reconciler_notice(reconciler, RECONCILE_ALL);
}

/* --- one comparison ----------------------------------------------------------------------------------------------- */

static void say(struct reconciler *reconciler, const struct part *part, unsigned restored, uint64_t now)
{
	const char *text = reconcile_text(part->is.kind);
	bool in_force = atomic_load_explicit(&part->in_force, memory_order_relaxed);
	uint64_t wait = !in_force && part->not_before > now ? part->not_before - now : 0;
	if (restored != 0 && in_force)
		log_warning("%s: %s was changed or removed by another program; put back", text, part->first);
	else if (in_force)
		log_info("%s: in force again", text);
	else if (part->why.text[0] != '\0')
		log_warning("%s: %s is not in force, and cannot be put back: %s", text, part->first, part->why.text);
	else
		log_warning("%s: %s is not in force: another program removed it %u times; next try in %u s", text,
			    part->first, part->times, (unsigned)((wait + NS_PER_S - 1) / NS_PER_S));
	const struct reconcile_news news = {.kind = part->is.kind,
					    .restored = restored,
					    .in_force = in_force,
					    .times = part->times,
					    .next_try = wait,
					    .first = part->first,
					    .why = part->why.text};
	if (reconciler->tell != NULL)
		reconciler->tell(reconciler->context, &news);
}

static void note(struct part *part, const struct reconcile_found *found)
{
	if (found->missing != 0)
		(void)snprintf(part->first, sizeof part->first, "%s", found->first);
	part->why = found->error;
	atomic_store_explicit(&part->wanted, found->wanted != 0, memory_order_relaxed);
	atomic_store_explicit(&part->in_force, found->wanted != 0 && found->missing == 0, memory_order_relaxed);
}

/* How long to leave a part alone after it was put back so many times in a row. */
static uint64_t wait_after(unsigned times)
{
	if (times < AT_ONCE)
		return 0;
	unsigned doubled = times - AT_ONCE;
	uint64_t seconds = doubled < 6 ? 1u << doubled : WAIT_MOST_S;
	return (seconds < WAIT_MOST_S ? seconds : WAIT_MOST_S) * NS_PER_S;
}

/* Each time in the row counts as a second, and the time for which the part stayed is taken off: only what is changed
 * more often than once a second is put back later and later. */
static void forgive(struct part *part, uint64_t now)
{
	uint64_t since = part->not_before > part->restored_at ? part->not_before : part->restored_at;
	uint64_t calm = now - since;
	part->row -= calm < part->row ? calm : part->row;
}

/* Since no answer has come for long, what is there is not known. */
static void note_pending(struct reconciler *reconciler, struct part *part, const struct reconcile_found *found,
			 uint64_t now)
{
	if (now - part->pending_since < LONG || found->error.text[0] == '\0')
		return;
	part->why = found->error;
	if (found->missing != 0)
		(void)snprintf(part->first, sizeof part->first, "%s", found->first);
	atomic_store_explicit(&part->wanted, true, memory_order_relaxed);
	atomic_store_explicit(&part->in_force, false, memory_order_relaxed);
	if (!part->lacking)
		say(reconciler, part, 0, now);
	part->lacking = true;
}

/* Calls the part's function. False: it is pending. */
static bool look(struct reconciler *reconciler, struct part *part, bool restore, uint64_t now,
		 struct reconcile_found *found)
{
	*found = (struct reconcile_found){0};
	part->is.run(part->is.context, restore, found);
	if (!found->pending) {
		part->pending_since = 0;
		return true;
	}
	if (part->pending_since == 0)
		part->pending_since = now;
	if (restore)
		atomic_store_explicit(&part->in_force, false, memory_order_relaxed);
	note_pending(reconciler, part, found, now);
	run_at(part, now + LOOK);
	return false;
}

/* The part is as `found` says; logged where that is new. */
static void settle(struct reconciler *reconciler, struct part *part, const struct reconcile_found *found,
		   unsigned restored, uint64_t now)
{
	note(part, found);
	part->stage = STAGE_COMPARE;
	bool is = atomic_load_explicit(&part->in_force, memory_order_relaxed);
	bool wanted = atomic_load_explicit(&part->wanted, memory_order_relaxed);
	if (wanted && (restored != 0 || is == part->lacking))
		say(reconciler, part, restored, now);
	part->lacking = wanted && !is;
	run_at(part, wanted && !is && part->not_before > now ? part->not_before : now + part->is.round);
}

/* Acknowledged by the kernel: whether it stays is seen by the comparison after the kernel's notice. */
static void settle_applied(struct reconciler *reconciler, struct part *part, struct reconcile_found *found,
			   uint64_t now)
{
	found->missing = found->left;
	part->applies = false;
	part->not_before = 0;
	settle(reconciler, part, found, 0, now);
}

/* After what was missing was put back: how many things came back. */
static void settle_restored(struct reconciler *reconciler, struct part *part, struct reconcile_found *after,
			    uint64_t now)
{
	const struct reconcile_found *found = &part->found;
	unsigned restored = 0;
	if (after->missing != 0)
		after->error = found->error;
	if (!found->fresh) {
		restored = found->missing > after->missing ? found->missing - after->missing : 0;
		part->row += NS_PER_S;
		part->times = (unsigned)((part->row + NS_PER_S - 1) / NS_PER_S);
		part->not_before = now + wait_after(part->times);
	}
	part->restored_at = now;
	atomic_fetch_add_explicit(&reconciler->restored[part->is.kind], restored, memory_order_relaxed);
	if (found->missing != 0) {
		memcpy(part->first, found->first, sizeof part->first);
		memcpy(after->first, found->first, sizeof after->first);
	}
	settle(reconciler, part, after, restored, now);
}

static void run_part(struct reconciler *reconciler, struct part *part, uint64_t now)
{
	struct reconcile_found found;
	part->due = 0;
	if (part->stage == STAGE_COMPARE) {
		if (!look(reconciler, part, false, now, &found))
			return;
		bool missing = found.missing != 0;
		if (!missing || now < part->not_before) {
			/* Not tried again this time: the reason of the last try still holds. */
			if (missing && found.error.text[0] == '\0')
				found.error = part->why;
			settle(reconciler, part, &found, 0, now);
			return;
		}
		forgive(part, now);
		part->stage = STAGE_RESTORE;
	}
	if (part->stage == STAGE_RESTORE) {
		if (!look(reconciler, part, true, now, &part->found))
			return;
		if (part->applies) {
			settle_applied(reconciler, part, &part->found, now);
			return;
		}
		part->stage = STAGE_CHECK;
	}
	if (!look(reconciler, part, false, now, &found))
		return;
	/* What is wanted has changed again since, and the notice of that found the check pending. */
	if (found.missing != 0 && found.fresh && found.left == 0 && part->found.left == 0) {
		part->stage = STAGE_COMPARE;
		run_at(part, now + SETTLE);
		return;
	}
	settle_restored(reconciler, part, &found, now);
}

void reconciler_run(struct reconciler *reconciler)
{
	uint64_t count, now = clock_monotonic(reconciler->clock);
	ssize_t got = read(reconciler->timer_fd, &count, sizeof count);
	(void)got;
	for (size_t i = 0; i < reconciler->count; i++) {
		struct part *part = &reconciler->parts[i];
		if (part->due != 0 && part->due <= now)
			run_part(reconciler, part, now);
	}
	arm(reconciler);
}

int reconciler_apply(struct reconciler *reconciler, unsigned kinds, struct error *error)
{
	uint64_t now = clock_monotonic(reconciler->clock);
	int result = 0;
	for (size_t i = 0; i < reconciler->count; i++) {
		struct part *part = &reconciler->parts[i];
		struct reconcile_found *found = &part->found;
		if (!is_of(part, kinds))
			continue;
		part->due = 0;
		part->stage = STAGE_RESTORE;
		part->applies = true;
		if (!look(reconciler, part, true, now, found))
			continue;
		if (found->left != 0 && result == 0)
			result = error_set(error, -EIO, "%s", found->error.text);
		part->lacking = found->left != 0; /* which is the caller's to log */
		settle_applied(reconciler, part, found, now);
	}
	arm(reconciler);
	return result;
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

struct reconcile_state reconciler_state(const struct reconciler *reconciler, enum reconcile_kind kind)
{
	struct reconcile_state state = {
		.in_force = true,
		.restored = atomic_load_explicit(&reconciler->restored[kind], memory_order_relaxed),
	};
	for (size_t i = 0; i < reconciler->count; i++) {
		const struct part *part = &reconciler->parts[i];
		if (part->is.kind != kind || !atomic_load_explicit(&part->wanted, memory_order_relaxed))
			continue;
		state.wanted = true;
		state.in_force &= atomic_load_explicit(&part->in_force, memory_order_relaxed);
	}
	state.in_force &= state.wanted;
	return state;
}

const char *reconciler_trouble(const struct reconciler *reconciler, enum reconcile_kind kind, char text[256])
{
	uint64_t now = clock_monotonic(reconciler->clock);
	text[0] = '\0';
	for (size_t i = 0; i < reconciler->count && text[0] == '\0'; i++) {
		const struct part *part = &reconciler->parts[i];
		bool wanted = atomic_load_explicit(&part->wanted, memory_order_relaxed);
		if (part->is.kind != kind || !wanted || atomic_load_explicit(&part->in_force, memory_order_relaxed))
			continue;
		uint64_t wait = part->not_before > now ? part->not_before - now : 0;
		unsigned seconds = (unsigned)((wait + NS_PER_S - 1) / NS_PER_S);
		if (part->why.text[0] != '\0')
			(void)snprintf(text, 256, "%.90s: %.140s", part->first, part->why.text);
		else if (part->pending_since != 0)
			(void)snprintf(text, 256, "it is being set up");
		else
			(void)snprintf(text, 256, "%.90s: removed by another program %u times; next try in %u s",
				       part->first, part->times, seconds);
	}
	return text;
}

// SPDX-License-Identifier: Apache-2.0
/* When things are put back, and what is said of them. */
#include "core/daemon/reconcile.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>

TestSuite(reconcile, .timeout = 60);

struct fake_clock {
	struct clock clock;
	uint64_t now;
};

static uint64_t fake_now(const struct clock *clock)
{
	return ((const struct fake_clock *)clock)->now;
}

/* A part of things that others take away. */
struct fixture {
	struct fake_clock clock;
	struct reconciler *reconciler;
	unsigned wanted, there;
	bool refuses; /* nothing can be put back */
	bool thief;   /* what is put back is gone at once */
	bool slow;    /* the answer comes with a later call */
	bool slows;   /* once it was put back */
	bool fresh;   /* what is missing is our own change */
	unsigned calls;
	unsigned restores, told;
	struct reconcile_news last;
};

static void keep(void *context, bool restore, struct reconcile_found *found)
{
	struct fixture *f = context;
	f->calls++;
	if (f->slow) {
		found->pending = true;
		error_set(&found->error, -EINPROGRESS, "no answer");
		return;
	}
	found->fresh = f->fresh;
	found->wanted = f->wanted;
	found->missing = f->wanted - f->there;
	(void)snprintf(found->first, sizeof found->first, "thing %u", f->there);
	if (!restore || found->missing == 0)
		return;
	f->restores++;
	f->slow = f->slows;
	if (f->refuses) {
		found->left = found->missing;
		error_set(&found->error, -EPERM, "not permitted");
	} else if (!f->thief) {
		f->there = f->wanted;
	}
}

static void tell(void *context, const struct reconcile_news *news)
{
	struct fixture *f = context;
	f->told++;
	f->last = *news;
}

static struct fixture *start(struct fixture *f)
{
	*f = (struct fixture){.clock = {.clock = {.monotonic = fake_now}, .now = NS_PER_S}, .wanted = 3};
	f->reconciler = reconciler_new(&f->clock.clock, tell, f, NULL);
	cr_assert_not_null(f->reconciler);
	const struct reconcile_part part = {.kind = RECONCILE_rule, .run = keep, .context = f};
	cr_assert_eq(reconciler_add(f->reconciler, &part), 0);
	cr_assert_eq(reconciler_apply(f->reconciler, RECONCILE_ALL, NULL), 0);
	f->restores = 0;
	return f;
}

static void pass(struct fixture *f, uint64_t time)
{
	f->clock.now += time;
	reconciler_run(f->reconciler);
}

static struct reconcile_state state(const struct fixture *f)
{
	return reconciler_state(f->reconciler, RECONCILE_rule);
}

Test(reconcile, setting_up_is_not_restoring)
{
	struct fixture f;
	start(&f);
	cr_assert_eq(f.there, 3);
	cr_assert(state(&f).in_force);
	cr_assert_eq(state(&f).restored, 0);
	cr_assert_eq(f.told, 0);
	reconciler_free(f.reconciler);
}

Test(reconcile, what_is_missing_is_put_back_after_a_notice)
{
	struct fixture f;
	start(&f);
	f.there = 1;
	reconciler_notice(f.reconciler, RECONCILE_BIT(RECONCILE_route));
	pass(&f, 50 * NS_PER_MS);
	cr_assert_eq(f.there, 1, "the notice was about something else");
	reconciler_notice(f.reconciler, RECONCILE_BIT(RECONCILE_rule));
	pass(&f, 50 * NS_PER_MS);
	cr_assert_eq(f.there, 3);
	cr_assert_eq(state(&f).restored, 2);
	cr_assert_eq(f.told, 1);
	cr_assert_eq(f.last.restored, 2);
	cr_assert(f.last.in_force);
	reconciler_free(f.reconciler);
}

Test(reconcile, the_slow_round_finds_what_nobody_told)
{
	struct fixture f;
	start(&f);
	f.there = 0;
	pass(&f, RECONCILE_ROUND - NS_PER_MS);
	cr_assert_eq(f.there, 0);
	pass(&f, 2 * NS_PER_MS);
	cr_assert_eq(f.there, 3);
	reconciler_free(f.reconciler);
}

Test(reconcile, the_descriptor_is_readable_when_it_is_due)
{
	struct fixture f;
	start(&f);
	struct pollfd polled = {.fd = reconciler_fd(f.reconciler), .events = POLLIN};
	cr_assert_eq(poll(&polled, 1, 0), 0);
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	cr_assert_eq(poll(&polled, 1, 240000), 1);
	reconciler_free(f.reconciler);
}

Test(reconcile, who_takes_his_time_is_never_waited_for)
{
	struct fixture f;
	start(&f);
	for (unsigned i = 0; i < 200; i++) {
		f.there = 0;
		reconciler_notice(f.reconciler, RECONCILE_ALL);
		pass(&f, 1100 * NS_PER_MS);
		cr_assert_eq(f.there, 3, "round %u", i);
	}
	reconciler_free(f.reconciler);
}

Test(reconcile, what_is_removed_again_and_again_is_left_alone_longer_and_longer)
{
	struct fixture f;
	start(&f);
	unsigned restores = 0;
	for (unsigned ms = 0; ms < 120000; ms += 100) {
		f.there = 0;
		reconciler_notice(f.reconciler, RECONCILE_ALL);
		pass(&f, 100 * NS_PER_MS);
		restores += f.restores;
		f.restores = 0;
	}
	cr_assert_geq(restores, 32, "two dozen in a row are no reason to wait");
	cr_assert_leq(restores, 42, "%u times in two minutes", restores);
	f.there = 0;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	pass(&f, 100 * NS_PER_MS);
	cr_assert_not(state(&f).in_force);
	cr_assert(state(&f).wanted);
	char text[256];
	cr_assert_not_null(strstr(reconciler_trouble(f.reconciler, RECONCILE_rule, text), "next try in"));
	reconciler_hurry(f.reconciler);
	pass(&f, 100 * NS_PER_MS);
	cr_assert(state(&f).in_force, "a reload waits for nothing");
	cr_assert_str_eq(reconciler_trouble(f.reconciler, RECONCILE_rule, text), "");
	reconciler_free(f.reconciler);
}

Test(reconcile, calm_ends_the_row)
{
	struct fixture f;
	start(&f);
	for (unsigned i = 0; i < 20; i++) {
		f.there = 2;
		reconciler_notice(f.reconciler, RECONCILE_ALL);
		pass(&f, 61 * NS_PER_S);
		cr_assert_eq(f.there, 3, "round %u", i);
	}
	cr_assert_eq(state(&f).restored, 20);
	reconciler_free(f.reconciler);
}

Test(reconcile, only_what_was_seen_counts_as_in_force)
{
	struct fixture f;
	start(&f);
	f.there = 0;
	f.thief = true;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	pass(&f, 50 * NS_PER_MS);
	cr_assert_eq(f.restores, 1);
	cr_assert_not(state(&f).in_force);
	cr_assert_eq(state(&f).restored, 0);
	reconciler_free(f.reconciler);
}

Test(reconcile, what_cannot_be_put_back_is_said_once)
{
	struct fixture f;
	char text[256];
	start(&f);
	f.there = 0;
	f.refuses = true;
	for (unsigned i = 0; i < 50; i++) {
		reconciler_notice(f.reconciler, RECONCILE_ALL);
		pass(&f, 30 * NS_PER_MS);
	}
	cr_assert_eq(f.told, 1);
	cr_assert_not(state(&f).in_force);
	cr_assert_str_eq(f.last.why, "not permitted");
	cr_assert_not_null(strstr(reconciler_trouble(f.reconciler, RECONCILE_rule, text), "not permitted"));
	f.refuses = false;
	pass(&f, 61 * NS_PER_S);
	cr_assert(state(&f).in_force);
	cr_assert_eq(f.told, 2);
	reconciler_free(f.reconciler);
}

Test(reconcile, nothing_wanted_is_nothing_to_keep)
{
	struct fixture f;
	start(&f);
	f.wanted = f.there = 0;
	cr_assert_eq(reconciler_apply(f.reconciler, RECONCILE_ALL, NULL), 0);
	cr_assert_not(state(&f).wanted);
	cr_assert_not(state(&f).in_force);
	pass(&f, RECONCILE_ROUND);
	cr_assert_eq(f.told, 0);
	reconciler_free(f.reconciler);
}

Test(reconcile, what_is_pending_is_called_again_in_the_same_way)
{
	struct fixture f;
	char text[256];
	start(&f);
	f.there = 1;
	f.slow = true;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	pass(&f, 50 * NS_PER_MS);
	cr_assert(state(&f).in_force, "nothing is known yet");
	f.slow = false;
	pass(&f, NS_PER_S);
	cr_assert_eq(f.there, 3);
	cr_assert_eq(state(&f).restored, 2);
	cr_assert(state(&f).in_force);
	cr_assert_eq(f.told, 1);
	/* The same while it is set up: no other program is blamed. */
	f.there = 1;
	f.slow = true;
	cr_assert_eq(reconciler_apply(f.reconciler, RECONCILE_ALL, NULL), 0);
	cr_assert_not(state(&f).in_force, "not yet");
	cr_assert_str_eq(reconciler_trouble(f.reconciler, RECONCILE_rule, text), "it is being set up");
	f.slow = false;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	pass(&f, 50 * NS_PER_MS);
	cr_assert(f.there == 3 && state(&f).in_force);
	cr_assert_eq(state(&f).restored, 2);
	cr_assert_eq(f.told, 1);
	reconciler_free(f.reconciler);
}

Test(reconcile, what_stays_pending_is_not_in_force_and_said_once)
{
	struct fixture f;
	start(&f);
	f.slow = true;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	for (unsigned i = 0; i < 40; i++)
		pass(&f, 250 * NS_PER_MS);
	cr_assert_leq(f.calls, 50, "it is looked at, and not polled");
	cr_assert_not(state(&f).in_force);
	cr_assert_eq(f.told, 1);
	cr_assert_str_eq(f.last.why, "no answer");
	f.slow = false;
	pass(&f, 250 * NS_PER_MS);
	cr_assert(state(&f).in_force);
	cr_assert_eq(f.told, 2);
	cr_assert_eq(state(&f).restored, 0);
	reconciler_free(f.reconciler);
}

Test(reconcile, our_own_change_is_not_put_back_but_set_up)
{
	struct fixture f;
	start(&f);
	f.fresh = true;
	for (unsigned i = 0; i < 100; i++) {
		f.there = 0;
		reconciler_notice(f.reconciler, RECONCILE_ALL);
		pass(&f, 50 * NS_PER_MS);
		cr_assert_eq(f.there, 3, "%u: it is never left alone", i);
	}
	cr_assert_eq(f.told, 0);
	cr_assert_eq(state(&f).restored, 0);
	f.there = 0;
	f.refuses = true;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	pass(&f, 50 * NS_PER_MS);
	cr_assert_not(state(&f).in_force);
	cr_assert_eq(f.told, 1);
	cr_assert_str_eq(f.last.why, "not permitted");
	f.refuses = false;
	reconciler_notice(f.reconciler, RECONCILE_ALL);
	pass(&f, 50 * NS_PER_MS);
	cr_assert(state(&f).in_force);
	cr_assert_eq(f.told, 2);
	cr_assert_eq(f.last.restored, 0);
	reconciler_free(f.reconciler);
}

Test(reconcile, a_change_of_our_own_while_the_last_one_is_checked_is_set_up_too)
{
	struct fixture f;
	start(&f);
	f.fresh = f.slows = true;
	f.wanted = 4;
	reconciler_notice(f.reconciler, RECONCILE_BIT(RECONCILE_rule));
	pass(&f, 50 * NS_PER_MS);
	cr_assert_eq(f.there, 4);
	cr_assert(f.slow, "the check is pending");
	f.slow = f.slows = false;
	f.wanted = 5;
	reconciler_notice(f.reconciler, RECONCILE_BIT(RECONCILE_rule));
	pass(&f, 50 * NS_PER_MS);
	pass(&f, 50 * NS_PER_MS);
	cr_assert_eq(f.there, 5);
	cr_assert(state(&f).in_force);
	cr_assert_eq(f.told, 0);
	/* One that cannot be is not tried at full speed. */
	f.refuses = true;
	f.wanted = 6;
	f.restores = 0;
	reconciler_notice(f.reconciler, RECONCILE_BIT(RECONCILE_rule));
	for (unsigned i = 0; i < 20; i++)
		pass(&f, 50 * NS_PER_MS);
	cr_assert_eq(f.restores, 1);
	cr_assert_not(state(&f).in_force);
	reconciler_free(f.reconciler);
}

// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/takeover_export.h"

#include <poll.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/gateway/reloader.h"
#include "core/gateway/state.h"

enum { EXPORT_AGAIN = 4 /* times that the first part may have to begin anew */ };

#define FREEZE_NS (2 * NS_PER_S)

/* What changed since then is not in the configuration that the new process has read, and would be undone. */
static int check_unchanged(const struct gateway *gateway, struct error *error)
{
	if (gateway->registry.changes == gateway->takeover.changes && !reloader_busy(gateway->running.reloader))
		return 0;
	return error_set(error, -EBUSY,
			 "take-over: peers, limits or quotas changed while the new process started: try again");
}

/* One that waits would be lost with this process: its sender believes that the gateway ends, or reads its file again.
 */
static int check_signals(const struct gateway *gateway, struct error *error)
{
	struct pollfd waits = {.fd = gateway->daemon.descriptors.signal_fd, .events = POLLIN};
	if (poll(&waits, 1, 0) <= 0)
		return 0;
	return error_set(error, -EBUSY, "take-over: a signal came for this process: try again");
}

static int check_all(const struct gateway *gateway, struct error *error)
{
	int result = check_unchanged(gateway, error);
	return result == 0 ? check_signals(gateway, error) : result;
}

static int too_slow(struct error *error)
{
	return error_set(error, -ETIMEDOUT, "take-over: the threads do not stand still");
}

/* The steps of a take-over keep the control thread for longer than the loop that sends this. */
static void feed_watchdog(struct gateway *gateway)
{
	struct notify *notify = &gateway->daemon.notify;
	uint64_t now = clock_monotonic(gateway->daemon.clock);
	if (notify_watchdog_due(notify, now))
		notify_watchdog(notify, now);
}

/* --- the first part ----------------------------------------------------------------------------------------------- */

/* In portions, between which the worker serves. */
static int export_worker(struct gateway *gateway, unsigned number)
{
	struct handover_export *export = &gateway->takeover.export;
	struct worker *worker = gateway->threads.workers[number];
	uint32_t slot = number;
	int result = 0;
	while (result == 0 && slot != HANDOVER_NO_SLOT) {
		result = handover_export_prepare(export);
		if (result != 0)
			break;
		if (!gateway_threads_freeze_worker(worker, gateway->daemon.clock, FREEZE_NS))
			return too_slow(&export->error);
		slot = handover_export_sessions(export, slot);
		event_loop_thaw(&worker->loop);
		result = export->writer.result;
		rcu_quiescent();
		feed_watchdog(gateway);
	}
	return result;
}

static int export_sessions(struct gateway *gateway)
{
	struct handover_export *export = &gateway->takeover.export;
	int result = handover_export_begin(export, &gateway->registry, &gateway->jar);
	for (unsigned i = 0; result == 0 && i < gateway->threads.plan.workers; i++)
		result = export_worker(gateway, i);
	return result == 0 ? handover_export_finish(export, clock_monotonic(gateway->daemon.clock)) : result;
}

/* Handshakes rest, so fewer clients are between two sessions each time. */
static int export_patiently(struct gateway *gateway)
{
	int result = export_sessions(gateway);
	for (unsigned again = 0; result == -EAGAIN && again < EXPORT_AGAIN; again++) {
		handover_export_end(&gateway->takeover.export, true);
		result = export_sessions(gateway);
	}
	return result;
}

static int export_all(void *context, const struct handover_memory **memory, struct error *error)
{
	struct gateway *gateway = context;
	struct gateway_takeover *takeover = &gateway->takeover;
	int result = check_all(gateway, error);
	if (result != 0)
		return result;
	uint64_t start = clock_monotonic(gateway->daemon.clock);
	if (!gateway_threads_freeze_handshakes(&gateway->daemon, FREEZE_NS))
		return too_slow(error);
	result = export_patiently(gateway);
	if (result != 0) {
		*error = takeover->export.error;
		handover_export_end(&takeover->export, true);
		gateway_threads_thaw(&gateway->daemon);
		return result;
	}
	takeover->stage = TAKEOVER_EXPORTED;
	*memory = &takeover->export.memory;
	log_debug("take-over: %zu sessions written in %.1f ms, %.1f MB; handshakes rest", takeover->export.count,
		  (double)(clock_monotonic(gateway->daemon.clock) - start) / NS_PER_MS,
		  (double)takeover->export.memory.backed / 1e6);
	return 0;
}

/* --- the second part ---------------------------------------------------------------------------------------------- */

static int freeze_all(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int result = check_all(gateway, error);
	if (result != 0)
		return result;
	gateway->takeover.frozen = clock_monotonic(gateway->daemon.clock);
	if (gateway->daemon.notify.watchdog != 0) /* of its interval the new process may take half */
		notify_watchdog(&gateway->daemon.notify, gateway->takeover.frozen);
	return gateway_threads_freeze(&gateway->threads, &gateway->daemon, FREEZE_NS) ? 0 : too_slow(error);
}

static int follow(void *context, struct error *error)
{
	struct gateway *gateway = context;
	struct handover_export *export = &gateway->takeover.export;
	struct stats_snapshot totals = {0};
	const struct threads *threads = &gateway->daemon.threads;
	for (size_t i = 0; i < threads->count; i++)
		stats_read(&threads->list[i].params.loop->stats, &totals);
	const struct handover_now now = {
		.totals = &totals, .now = clock_monotonic(gateway->daemon.clock), .frozen = gateway->takeover.frozen};
	int result = handover_export_moved(export, &now);
	log_debug("take-over: all stood still after %.1f ms, and what moved was written in %.1f ms",
		  (double)(now.now - now.frozen) / NS_PER_MS,
		  (double)(clock_monotonic(gateway->daemon.clock) - now.now) / NS_PER_MS);
	if (result != 0)
		*error = export->error;
	return result == 0 ? check_signals(gateway, error) : result;
}

static void thaw_all(void *context)
{
	struct gateway *gateway = context;
	registry_hold(&gateway->registry, false); /* handshakes may need what has ended meanwhile */
	gateway_threads_thaw(&gateway->daemon);
}

struct takeover_owner gateway_takeover_owner(struct gateway *gateway)
{
	return (struct takeover_owner){
		.context = gateway, .export = export_all, .freeze = freeze_all, .follow = follow, .thaw = thaw_all};
}

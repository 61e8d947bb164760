// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/routes_keeper.h"

void routes_keeper_init(struct routes_keeper *keeper, struct gateway_routes *routes, struct registry *registry)
{
	*keeper = (struct routes_keeper){.routes = routes, .registry = registry};
}

int routes_keeper_start(struct routes_keeper *keeper, const struct seccomp_filter *filter,
			void (*finished)(void *context), void *context, struct error *error)
{
	keeper->finished = finished;
	keeper->context = context;
	keeper->reader = netlink_open(error);
	if (keeper->reader == NULL)
		return -errno;
	keeper->thread = reloader_new("routes", NULL, filter, error);
	if (keeper->thread != NULL)
		return 0;
	netlink_close(keeper->reader);
	keeper->reader = NULL;
	return -EAGAIN;
}

void routes_keeper_end(struct routes_keeper *keeper)
{
	reloader_free(keeper->thread);
	keeper->thread = NULL;
	gateway_routes_difference_free(&keeper->difference);
	netlink_close(keeper->reader);
	keeper->reader = NULL;
	keeper->busy = keeper->done = false;
}

void routes_keeper_plan(struct routes_keeper *keeper)
{
	keeper->wanted++;
}

/* --- a job -------------------------------------------------------------------------------------------------------- */

static void read_routes(void *context)
{
	struct routes_keeper *keeper = context;
	keeper->result = keeper->plans ? gateway_routes_plan(keeper->routes, keeper->registry) : 0;
	gateway_routes_compare(keeper->routes, keeper->reader, &keeper->difference);
	if (keeper->result != 0) {
		struct error error;
		(void)error_set(&error, keeper->result, "AllowedIPs: out of memory: the routes are as before");
		reconcile_left(&keeper->difference.found, keeper->result, &error);
	}
}

/* The rest of it would be routes that may be wanted no more, while those of a block that was lost stay. Not two jobs
 * one after the other, or what changes all the time would never be done. */
static bool is_cut(const struct routes_keeper *keeper)
{
	return keeper->restores && keeper->version != keeper->wanted && !keeper->cut;
}

static bool change_routes(void *context)
{
	struct routes_keeper *keeper = context;
	bool cut = is_cut(keeper);
	if (keeper->restores && !cut && !gateway_routes_restore(keeper->routes, &keeper->difference))
		return false;
	keeper->cut = cut;
	if (keeper->result == 0)
		keeper->planned = keeper->version;
	keeper->busy = false;
	keeper->done = true;
	keeper->finished(keeper->context);
	return true;
}

/* On the thread, while the next job may be under way already. */
static void nothing_to_free(void *context)
{
	(void)context;
}

static void begin(struct routes_keeper *keeper, bool restore)
{
	const struct reloader_job job = {
		.read = read_routes, .apply = change_routes, .free = nothing_to_free, .context = keeper};
	gateway_routes_difference_free(&keeper->difference);
	keeper->busy = true;
	keeper->restores = restore;
	keeper->version = keeper->wanted;
	keeper->plans = keeper->planned != keeper->wanted;
	reloader_begin(keeper->thread, &job);
}

void routes_keeper_run(void *context, bool restore, struct reconcile_found *found)
{
	struct routes_keeper *keeper = context;
	if (keeper->thread == NULL) {
		gateway_routes_run(keeper->routes, restore, found);
		return;
	}
	bool fits = keeper->done && keeper->restores == restore && keeper->version == keeper->wanted;
	keeper->done = false;
	if (fits) {
		*found = keeper->difference.found;
		gateway_routes_difference_free(&keeper->difference);
		return;
	}
	if (!keeper->busy)
		begin(keeper, restore);
	found->pending = true;
}

int routes_keeper_fd(const struct routes_keeper *keeper)
{
	return keeper->thread != NULL ? reloader_fd(keeper->thread) : -1;
}

void routes_keeper_poll(struct routes_keeper *keeper)
{
	reloader_apply_job(keeper->thread);
}

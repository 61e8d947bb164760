// SPDX-License-Identifier: Apache-2.0
/* Whether the descriptors that another process left are those that this one would open. */
#include <stdarg.h>
#include <stdio.h>

#include "core/base/cpu.h"
#include "core/daemon/descriptors.h"
#include "core/daemon/layout.h"

struct judgement {
	const struct descriptor_list *list;
	const struct descriptors_plan *plan;
	size_t found; /* of the names that there have to be */
	char name[DESCRIPTOR_NAME_MAX];
	int fd; /* of that name */
	struct error *error;
};

static bool find(struct judgement *judgement, const char *format, ...) PRINTF_LIKE(2, 3);

static bool find(struct judgement *judgement, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(judgement->name, sizeof judgement->name, format, args);
	va_end(args);
	judgement->fd = descriptor_list_find(judgement->list, judgement->name);
	judgement->found += judgement->fd >= 0;
	return judgement->fd >= 0;
}

static int missing(struct judgement *judgement)
{
	return error_set(judgement->error, -EPROTO, "%s: missing", judgement->name);
}

static int about(struct judgement *judgement, int result)
{
	return result == 0 ? 0 : error_prefix(judgement->error, -EPROTO, "%s: ", judgement->name);
}

static int check_layout(struct judgement *judgement)
{
	if (!find(judgement, "layout"))
		return missing(judgement);
	return layout_check(judgement->fd, judgement->plan->layout, judgement->error);
}

static int check_sockets(struct judgement *judgement)
{
	const struct descriptors_plan *plan = judgement->plan;
	struct udp_params udp = plan->udp;
	size_t groups = plan->listen_address_count != 0 ? plan->listen_address_count : 1;
	int result = 0;
	for (size_t a = 0; a < groups; a++) {
		if (plan->listen_address_count != 0)
			udp.address = plan->listen_addresses[a];
		for (size_t i = 0; i < plan->sockets && result == 0; i++) {
			if (!find(judgement, "udp.%zu.%zu", a, i))
				return missing(judgement);
			result = about(judgement, udp_check(&udp, plan->sockets > 1, judgement->fd, judgement->error));
		}
	}
	return result;
}

/* How many second queues there have to be is known only when their program is loaded: tun_device_open(). */
static int check_queues(struct judgement *judgement)
{
	const struct tun_params *device = &judgement->plan->device;
	unsigned least = device->readers + device->writers, count = 0;
	while (count < CPU_TUN_QUEUES_MAX && find(judgement, "tun.%u", count))
		count++;
	if (count < least)
		return missing(judgement);
	int result = 0;
	for (unsigned i = 0; i < count && result == 0; i++) {
		(void)snprintf(judgement->name, sizeof judgement->name, "tun.%u", i);
		int fd = descriptor_list_find(judgement->list, judgement->name);
		result = about(judgement, tun_queue_check(fd, device->name, count > 1, judgement->error));
	}
	return result;
}

static int check_listeners(struct judgement *judgement)
{
	const struct descriptors_plan *plan = judgement->plan;
	char path[DESCRIPTORS_PATH_MAX];
	if (!find(judgement, "control"))
		return missing(judgement);
	int result = about(judgement, control_listener_check(judgement->fd, plan->control, judgement->error));
	if (result == 0 && (plan->metrics->path != NULL || plan->metrics->port != 0)) {
		if (!find(judgement, "metrics"))
			return missing(judgement);
		result = about(judgement, metrics_listener_check(plan->metrics, judgement->fd, judgement->error));
	}
	if (result == 0 && plan->wireguard != NULL) {
		if (!find(judgement, "wireguard"))
			return missing(judgement);
		descriptors_wireguard_path(plan->device.name, path);
		result = about(judgement, control_listener_check(judgement->fd, path, judgement->error));
	}
	return result;
}

int descriptors_check(const struct descriptor_list *list, const struct descriptors_plan *plan, struct error *error)
{
	static int (*const parts[])(struct judgement *) = {check_layout, check_sockets, check_queues, check_listeners};
	struct judgement judgement = {.list = list, .plan = plan, .error = error};
	int result = descriptor_list_check_distinct(list, error);
	for (size_t i = 0; i < ARRAY_SIZE(parts) && result == 0; i++)
		result = parts[i](&judgement);
	if (result == 0 && judgement.found != list->count)
		result = error_set(error, -EPROTO, "%zu descriptors, and there have to be %zu", list->count,
				   judgement.found);
	return result == 0 ? 0 : -EPROTO;
}

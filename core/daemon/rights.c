// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/rights.h"

#include <string.h>

#include "core/base/log.h"
#include "core/base/rcu.h"

int daemon_prepare_filters(struct daemon *daemon, struct error *error)
{
	bool wanted = SECCOMP_AVAILABLE && daemon->params.common->seccomp;
	for (int kind = 0; wanted && kind < SECCOMP_KINDS; kind++) {
		daemon->filters[kind] = seccomp_filter_new((enum seccomp_kind)kind, error);
		if (daemon->filters[kind] == NULL)
			return -EIO;
	}
	daemon->threads.filter = daemon->filters[SECCOMP_DATA];
	return 0;
}

void daemon_free_filters(struct daemon *daemon)
{
	for (size_t i = 0; i < SECCOMP_KINDS; i++) {
		seccomp_filter_free(daemon->filters[i]);
		daemon->filters[i] = NULL;
	}
}

int daemon_drop_privileges(struct daemon *daemon, const struct privileges_user *user, struct error *error)
{
	int result = 0;
	if (privileges_become(user))
		result = control_listener_give(&daemon->descriptors.control, user->uid, user->gid, error);
	if (result == 0 && privileges_become(user))
		result = metrics_listener_give(&daemon->descriptors.metrics, user->uid, user->gid, error);
	bool wireguard = daemon->descriptors.wireguard.fd >= 0;
	if (result == 0 && wireguard && privileges_become(user))
		result = control_listener_give(&daemon->descriptors.wireguard, user->uid, user->gid, error);
	if (result == 0)
		result = privileges_drop(user, daemon->params.common->cpu_priority != CPU_PRIORITY_NORMAL, error);
	if (result == 0)
		control_listener_check_removable(&daemon->descriptors.control);
	if (result == 0 && wireguard)
		control_listener_check_removable(&daemon->descriptors.wireguard);
	return result;
}

void daemon_tell_priority(const struct daemon *daemon)
{
	char text[CPU_PRIORITY_TEXT];
	const struct cpu_priority_thread *thread = threads_priority(&daemon->threads);
	if (thread == NULL)
		return;
	bool all = cpu_priority_report(thread, daemon->priority_group, text);
	log_write(all ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "%s", text);
	if (thread->wanted != CPU_PRIORITY_REALTIME || thread->realtime != 0)
		return;
	if (cpu_priority_throttling(&cpu_priority_kernel, text)[0] != '\0')
		log_warning("%s", text);
}

int daemon_settle_priority(struct daemon *daemon, struct error *error)
{
	daemon_tell_priority(daemon);
	return privileges_drop_nice(error);
}

struct load {
	const struct seccomp_filter *filter;
	int result;
};

static void load_filter(void *context)
{
	struct load *load = context;
	load->result = seccomp_filter_load(load->filter);
}

int daemon_filter_calls(struct daemon *daemon, struct error *error)
{
	if (daemon->filters[SECCOMP_CONTROL] == NULL)
		return 0;
	struct load load = {.filter = daemon->filters[SECCOMP_DATA]};
	rcu_run_on_thread(load_filter, &load);
	if (load.result == 0)
		load.result = seccomp_filter_load(daemon->filters[SECCOMP_CONTROL]);
	return load.result == 0 ? 0 : error_set(error, load.result, "seccomp: %s", strerror(-load.result));
}

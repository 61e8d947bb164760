// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/describe.h"

#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/log.h"
#include "core/daemon/daemon.h"

enum { DESCRIBE_OFFLOADS = 5 };

/* What a status_source points to, for as long as it is in use. */
struct description {
	struct daemon_shown shown;
	char address_text[ARRAY_SIZE(((struct daemon_shown *)NULL)->addresses)][IP_TEXT_MAX];
	const char *addresses[ARRAY_SIZE(((struct daemon_shown *)NULL)->addresses)];
	char listen_text[UDP_ADDRESSES_MAX][ENDPOINT_TEXT_MAX];
	const char *listens[UDP_ADDRESSES_MAX];
	size_t listen_count;
	struct status_suite suites[AEAD_SUITE_LAST];
	size_t suite_count;
	struct status_offload offloads[DESCRIBE_OFFLOADS];
	struct status_kept kept[RECONCILE_KIND_COUNT];
	size_t kept_count;
	struct status_thread *threads;	    /* heap */
	char (*thread_cpus)[CPU_LIST_TEXT]; /* heap: one for each thread */
};

static uint64_t socket_buffer(int fd, int name)
{
	int value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? (uint64_t)value : 0;
}

static int64_t overflows(int fd)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t length = sizeof info;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) != 0 || length <= SK_MEMINFO_DROPS * sizeof info[0])
		return -1;
	return info[SK_MEMINFO_DROPS];
}

/* Of all sockets; -1: this kernel does not count them. */
static int64_t queue_overflows(const struct daemon *daemon)
{
	int64_t sum = 0;
	for (size_t i = 0; i < daemon->descriptors.socket_count; i++) {
		const struct udp_socket *member;
		for (size_t m = 0; (member = udp_member(daemon->descriptors.sockets[i], m)) != NULL; m++) {
			int64_t lost = overflows(member->fd);
			if (lost < 0)
				return -1;
			sum += lost;
		}
	}
	return sum;
}

/* Trains are sent until a device refuses one, which each socket finds out for itself. */
static bool sends_trains(const struct daemon *daemon)
{
	bool all = true;
	for (size_t i = 0; i < daemon->descriptors.socket_count; i++)
		all &= daemon->descriptors.sockets[i]->gso;
	return all;
}

static void read_shown(struct daemon *daemon, struct daemon_shown *shown)
{
	pthread_mutex_lock(&daemon->shown_mutex);
	*shown = daemon->shown;
	memcpy(shown->name, daemon->descriptors.device.name, sizeof shown->name);
	pthread_mutex_unlock(&daemon->shown_mutex);
}

/* Returns how many kinds this end keeps. */
static size_t describe_kept(struct daemon *daemon, struct status_kept kept[RECONCILE_KIND_COUNT])
{
	size_t count = 0;
	for (int kind = 0; kind < RECONCILE_KIND_COUNT; kind++) {
		struct reconcile_state state = reconciler_state(daemon->reconciler, (enum reconcile_kind)kind);
		if (!state.wanted && state.restored == 0)
			continue;
		struct status_kept *one = &kept[count++];
		*one = (struct status_kept){.label = reconcile_label((enum reconcile_kind)kind),
					    .wanted = state.wanted,
					    .in_force = state.in_force,
					    .restored = state.restored};
		pthread_mutex_lock(&daemon->shown_mutex);
		(void)snprintf(one->trouble, sizeof one->trouble, "%s", state.in_force ? "" : daemon->trouble[kind]);
		pthread_mutex_unlock(&daemon->shown_mutex);
	}
	return count;
}

static void describe_addresses(struct daemon *daemon, struct description *it)
{
	read_shown(daemon, &it->shown);
	for (size_t i = 0; i < it->shown.address_count; i++)
		it->addresses[i] = ip_prefix_format(&it->shown.addresses[i], it->address_text[i]);
	for (size_t i = 0; i < UDP_ADDRESSES_MAX; i++) {
		if (!descriptors_bound(&daemon->descriptors, i, it->listen_text[i]))
			break;
		it->listens[it->listen_count++] = it->listen_text[i];
	}
}

static void describe_suites(const struct daemon *daemon, struct description *it)
{
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		if (aead_engine_suite(daemon->aead, suite) != NULL)
			it->suites[it->suite_count++] = (struct status_suite){
				aead_suite_name(suite), aead_engine_describe(daemon->aead, suite)};
	}
}

static void describe_offloads(const struct daemon *daemon, struct description *it)
{
	const struct tun_offloads *tun = &daemon->descriptors.device.offloads;
	const struct status_offload offloads[DESCRIBE_OFFLOADS] = {
		{"tun_checksum", tun->checksum},
		{"tun_tso", tun->tso},
		{"tun_uso", tun->uso},
		{"udp_gso", sends_trains(daemon)},
		{"udp_gro", daemon->descriptors.sockets[0]->gro},
	};
	memcpy(it->offloads, offloads, sizeof offloads);
}

/* Where it is now, whatever it was pinned to: the machine's operator may move threads, take CPUs away and give them. */
static void describe_cpus(const struct thread *thread, struct status_thread *shown, char text[CPU_LIST_TEXT])
{
	struct cpu_list cpus;
	shown->cpu = CPU_FLOATS;
	if (cpu_allowed(thread->tid, &cpus) != 0)
		return;
	shown->cpu = cpus.count == 1 ? cpus.cpus[0] : CPU_FLOATS;
	shown->cpus = cpu_list_format(&cpus, text);
}

static bool describe_threads(const struct daemon *daemon, struct description *it)
{
	it->threads = calloc(daemon->threads.count + 1, sizeof *it->threads);
	it->thread_cpus = calloc(daemon->threads.count + 1, sizeof *it->thread_cpus);
	if (it->threads == NULL || it->thread_cpus == NULL)
		return false;
	for (size_t i = 0; i < daemon->threads.count; i++) {
		const struct thread *thread = &daemon->threads.list[i];
		const struct cpu_priority_thread *priority = &thread->priority;
		it->threads[i] = (struct status_thread){
			.name = thread->params.name,
			.policy = priority->known ? cpu_priority_policy_name(priority->now.policy) : NULL,
			.nice = priority->now.nice,
			.slice = priority->now.slice,
			.load = atomic_load_explicit(&thread->load, memory_order_relaxed),
			.cpu_time = atomic_load_explicit(&thread->cpu_time, memory_order_relaxed),
			.allocated = atomic_load_explicit(&thread->allocated, memory_order_relaxed),
			.stats = &thread->params.loop->stats,
			.stages = &thread->params.loop->stages};
		describe_cpus(thread, &it->threads[i], it->thread_cpus[i]);
	}
	return true;
}

static void forget_threads(struct description *it)
{
	free(it->threads);
	free(it->thread_cpus);
}

void daemon_describe(struct daemon *daemon, status_use_fn *use, void *context)
{
	struct description it = {0};
	struct daemon_figures figures = {0};
	int fd = udp_member(daemon->descriptors.sockets[0], 0)->fd;
	if (!describe_threads(daemon, &it)) {
		forget_threads(&it);
		return;
	}
	describe_addresses(daemon, &it);
	describe_suites(daemon, &it);
	describe_offloads(daemon, &it);
	it.kept_count = describe_kept(daemon, it.kept);
	daemon->params.refresh(daemon, &figures);

	const struct status_source source = {
		.role = daemon->params.role_name,
		.uptime = clock_monotonic(daemon->clock) - daemon->started,
		.interface = it.shown.name,
		.mtu = it.shown.mtu,
		.interface_drops = interface_drops_read(&daemon->interface_drops),
		.addresses = it.addresses,
		.address_count = it.shown.address_count,
		.listen = it.listens,
		.listen_count = it.listen_count,
		.threads = it.threads,
		.thread_count = daemon->threads.count,
		.offloads = it.offloads,
		.offload_count = ARRAY_SIZE(it.offloads),
		.suites = it.suites,
		.suite_count = it.suite_count,
		.kept = it.kept,
		.kept_count = it.kept_count,
		.forward = figures.forward,
		.cluster = figures.cluster,
		.sessions = {.active = figures.sessions_active,
			     .wireguard = figures.sessions_wireguard,
			     .max = figures.sessions_max},
		.pool = {.used = figures.pool_used, .size = figures.pool_size},
		.peers = {.shardtun = figures.peers_shardtun, .wireguard = figures.peers_wireguard},
		.quotas = {.peers = figures.quotas, .over = figures.quotas_over},
		.takeover = {.wait = figures.takeover_wait, .sessions = figures.takeover_sessions},
		.udp = {.receive_buffer = socket_buffer(fd, SO_RCVBUF),
			.send_buffer = socket_buffer(fd, SO_SNDBUF),
			.wanted_buffer = daemon->params.common->udp_buffer,
			.queue_overflows = queue_overflows(daemon)},
		.log_dropped = log_dropped(),
		.tsc = daemon->tsc,
		.stage_sampling = atomic_load_explicit(&daemon->stage_sampling, memory_order_relaxed),
	};
	use(context, &source);
	forget_threads(&it);
}

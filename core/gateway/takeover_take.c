// SPDX-License-Identifier: Apache-2.0
/* The new process. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/daemon/layout.h"
#include "core/gateway/state.h"
#include "core/handover/import.h"
#include "core/handover/takeover.h"
#include "core/handover/word.h"

_Static_assert((int)TAKEOVER_NAME_MAX == (int)DESCRIPTOR_NAME_MAX, "one kind of names");

enum {
	RECORDS_MS = 10000, /* for the old process to stand still and to write */
	END_MS = 5000,	    /* and to end, when it has given them */
};
#define PARKED_NS (5 * NS_PER_S)

void gateway_takeover_init(struct gateway_takeover *takeover)
{
	*takeover = (struct gateway_takeover){.wanted = takeover->wanted,
					      .old = -1,
					      .given_listener = -1,
					      .given_quota = -1,
					      .listener = {.fd = -1},
					      .epoll_fd = -1,
					      .connection = -1};
}

static int reach(const char *control, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = snprintf(address.sun_path, sizeof address.sun_path, "%s" GATEWAY_TAKEOVER_SUFFIX, control);
	if (length < 0 || (size_t)length >= sizeof address.sun_path)
		return error_set(error, -ENAMETOOLONG, "take-over: ControlSocket = %s: too long for it", control);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "take-over: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	int code = errno;
	close(fd);
	return error_set(error, -code, "take-over: no gateway that runs answers at %s (%s)", address.sun_path,
			 strerror(code));
}

/* What comes from another user would be that user's gateway. */
static int check_old(int fd, const struct privileges_user *user, struct error *error)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return error_set(error, -errno, "take-over: %s", strerror(errno));
	if (peer.uid == 0 || peer.uid == geteuid() || (user->change && peer.uid == user->uid))
		return 0;
	return error_set(error, -EPERM, "take-over: the gateway that runs is of user %u", peer.uid);
}

static int take_list(struct gateway_takeover *takeover, struct takeover_descriptor *list, size_t count)
{
	int result = 0;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i].name, GATEWAY_TAKEOVER_LISTENER) == 0 && takeover->given_listener < 0)
			takeover->given_listener = list[i].fd;
		else if (strcmp(list[i].name, GATEWAY_TAKEOVER_QUOTA) == 0 && takeover->given_quota < 0)
			takeover->given_quota = list[i].fd;
		else if (result != 0 || (result = descriptor_list_add(&takeover->given, list[i].name, list[i].fd)) != 0)
			close(list[i].fd);
	}
	return result;
}

static int ask(struct gateway *gateway, const struct daemon_params *params, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	struct takeover_descriptor *list;
	size_t count;
	char *layout = layout_text(params);
	if (layout == NULL)
		return error_set(error, -ENOMEM, "take-over: out of memory");
	int result = check_old(takeover->old, &gateway->user, error);
	if (result == 0)
		result = takeover_ask(takeover->old, layout, &list, &count, error);
	free(layout);
	if (result != 0)
		return result;
	result = take_list(takeover, list, count);
	free(list);
	return result == 0 ? 0 : error_set(error, result, "take-over: out of memory");
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void leave_old(struct gateway_takeover *takeover)
{
	descriptor_list_close(&takeover->given);
	close_one(&takeover->given_listener);
	close_one(&takeover->given_quota);
	close_one(&takeover->old);
}

int gateway_takeover_ask(struct gateway *gateway, struct daemon_params *params, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	if (!takeover->wanted)
		return 0;
	takeover->old = reach(params->common->control_socket, error);
	if (takeover->old < 0)
		return takeover->old;
	int result = ask(gateway, params, error);
	if (result != 0)
		leave_old(takeover);
	params->given = result == 0 ? &takeover->given : NULL;
	return result;
}

bool gateway_takeover_pending(const struct gateway *gateway)
{
	return gateway->takeover.old >= 0;
}

static void adopt(struct gateway *gateway, struct handover_import *import)
{
	const struct session_sharding *sharding = &gateway->registry.table.sharding;
	for (size_t i = 0; i < import->count; i++) {
		struct handover_adopted *one = &import->sessions[i];
		struct worker *worker = gateway->threads.workers[session_shard(sharding, one->session->id)];
		if (gateway_role_adopt(worker, one->session, &one->ready) != 0)
			log_warning("session %08x: out of memory: no limits until its next keys", one->session->id);
	}
	free(import->sessions);
}

static int take(struct gateway *gateway, const struct handover_memory *memory, size_t *count, struct error *error)
{
	struct handover_import import;
	const struct handover_target target = {.registry = &gateway->registry,
					       .engine = gateway->daemon.aead,
					       .jar = &gateway->jar,
					       .totals = &gateway->threads.workers[0]->loop.stats,
					       .now = clock_monotonic(gateway->daemon.clock)};
	int result = handover_read(&import, memory, &target, error);
	if (result != 0)
		return result;
	if (import.dropped != 0)
		log_info("take-over: %zu sessions are of clients that this configuration does not have",
			 import.dropped);
	*count = import.count;
	handover_take_over(&import, &target);
	adopt(gateway, &import);
	return handover_claim(memory) ? 0
				      : error_set(error, -ETIMEDOUT, "take-over: too late: the old process serves on");
}

/* It has nothing left to do but to tell the service manager. */
static void wait_for_end(int old)
{
	struct pollfd gone = {.fd = old};
	rcu_offline();
	(void)poll(&gone, 1, END_MS);
	rcu_online();
}

int gateway_takeover_claim(struct gateway *gateway, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	struct handover_memory memory;
	size_t count = 0;
	if (takeover->old < 0)
		return 0;
	if (!gateway_threads_freeze(&gateway->threads, &gateway->daemon, PARKED_NS))
		return error_set(error, -ETIMEDOUT, "take-over: the threads do not stand still");
	int result = takeover_receive(takeover->old, &memory, RECORDS_MS, error);
	if (result != 0)
		return result;
	result = take(gateway, &memory, &count, error);
	handover_memory_wipe(&memory);
	handover_memory_close(&memory);
	if (result != 0)
		return result;
	gateway->daemon.leaving = false;
	result = gateway_threads_attach(&gateway->threads, &gateway->daemon, error);
	gateway_threads_thaw(&gateway->daemon);
	wait_for_end(takeover->old);
	leave_old(takeover);
	gateway_network_alone(&gateway->network);
	quota_take_over(&gateway->quota);
	if (result == 0)
		log_info("take-over: %zu sessions go on here", count);
	return result;
}

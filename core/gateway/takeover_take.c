// SPDX-License-Identifier: Apache-2.0
/* The new process. */
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/daemon/keeping.h"
#include "core/daemon/layout.h"
#include "core/gateway/state.h"
#include "core/handover/import.h"
#include "core/handover/takeover.h"
#include "core/handover/word.h"

enum {
	RECORDS_MS = 60000, /* for the old process to write a million sessions */
	OFFER_MS = 10000,   /* to stand still, and to write what moved */
	END_MS = 5000,	    /* and to end, when it has given them */
	RELOAD_MS = 60000,  /* or to read its configuration again */
};
#define PARKED_NS (5 * NS_PER_S)
#define UNANNOUNCED_NS \
	(10 * NS_PER_S) /* in which the service manager notices the old process's end, and ends this one */

/* All processes of a unit have these variables in common, from its start to its stop; systemd's units have one socket.
 */
static uint64_t service_manager(void)
{
	const char *socket_name = getenv("NOTIFY_SOCKET"), *invocation = getenv("INVOCATION_ID");
	crypto_generichash_state state;
	uint64_t number = 0;
	if (socket_name == NULL)
		return 0;
	(void)crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES);
	(void)crypto_generichash_update(&state, (const uint8_t *)socket_name, strlen(socket_name) + 1);
	if (invocation != NULL)
		(void)crypto_generichash_update(&state, (const uint8_t *)invocation, strlen(invocation));
	uint8_t hash[crypto_generichash_BYTES];
	(void)crypto_generichash_final(&state, hash, sizeof hash);
	memcpy(&number, hash, sizeof number);
	return number;
}

/* A file that runs keeps its number, also when it has no name any more. */
void gateway_takeover_init(struct gateway_takeover *takeover, enum gateway_start start)
{
	struct stat program = {0};
	(void)stat("/proc/self/exe", &program);
	*takeover = (struct gateway_takeover){.start = start,
					      .device = program.st_dev,
					      .inode = program.st_ino,
					      .manager = service_manager(),
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
	/* Else one that hangs with a full queue of connections would have this process wait for ever. */
	const struct timeval limit = {.tv_sec = TAKEOVER_ANSWER_MS / 1000};
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
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

static int ask(struct gateway *gateway, const struct daemon_params *params, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	struct takeover_given given;
	char *layout = layout_running_text(params);
	const struct takeover_party self = {.layout = layout,
					    .device = takeover->device,
					    .inode = takeover->inode,
					    .manager = takeover->manager,
					    .reload = takeover->start == GATEWAY_RELOADS};
	if (layout == NULL)
		return error_set(error, -ENOMEM, "take-over: out of memory");
	int result = check_old(takeover->old, &gateway->user, error);
	if (result == 0)
		result = takeover_ask(takeover->old, &self, &given, error);
	free(layout);
	if (result != 0)
		return result;
	takeover->given_listener = descriptor_list_take_out(&given.list, GATEWAY_TAKEOVER_LISTENER);
	takeover->given_quota = descriptor_list_take_out(&given.list, GATEWAY_TAKEOVER_QUOTA);
	takeover->given = given.list;
	takeover->watchdog = given.watchdog;
	return 0;
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

/* The other process closes the connection when it has done what is left: its report to the service manager. */
static void wait_for_end(int old, int limit_ms)
{
	struct pollfd gone = {.fd = old};
	rcu_offline();
	(void)poll(&gone, 1, limit_ms);
	rcu_online();
}

static int wait_for_reload(int old, struct error *error)
{
	rcu_offline();
	int result = takeover_await_reload(old, RELOAD_MS, error);
	rcu_online();
	return result;
}

/* A gateway of a version before take-overs, or whose path is too long for its socket, does not listen: it reads its
 * configuration again by SIGHUP. `code` is the failure to connect. */
static bool signal_reload(int code, const struct error *failure)
{
	const char *text = getenv("MAINPID"); /* of the service manager */
	long process = text != NULL ? strtol(text, NULL, 10) : 0;
	if ((code != -ENOENT && code != -ECONNREFUSED && code != -ENAMETOOLONG) || process <= 1 || process > INT_MAX ||
	    kill((pid_t)process, SIGHUP) != 0)
		return false;
	log_warning("%s; process %ld was told to read its configuration again, whose outcome its log has, and stays "
		    "the program that it "
		    "is until a restart",
		    failure->text, process);
	return true;
}

int gateway_takeover_ask(struct gateway *gateway, struct daemon_params *params, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	if (takeover->start == GATEWAY_OPENS)
		return 0;
	takeover->old = reach(params->common->control_socket, error);
	if (takeover->old < 0) {
		takeover->reloaded = takeover->start == GATEWAY_RELOADS && signal_reload(takeover->old, error);
		return takeover->old;
	}
	int result = ask(gateway, params, error);
	if (result == -EALREADY) {
		int reload = wait_for_reload(takeover->old, error);
		takeover->reloaded = reload == 0;
		result = reload == 0 ? result : reload;
	}
	if (result != 0)
		leave_old(takeover);
	params->given = result == 0 ? &takeover->given : NULL;
	return result;
}

bool gateway_takeover_pending(const struct gateway *gateway)
{
	return gateway->takeover.old >= 0;
}

/* Monotonic ns, for the log. */
struct moments {
	uint64_t offered, checked, followed, served;
};

static struct handover_target target_of(struct gateway *gateway)
{
	return (struct handover_target){.registry = &gateway->registry,
					.engine = gateway->daemon.aead,
					.jar = &gateway->jar,
					.totals = &gateway->threads.workers[0]->loop.stats,
					.now = clock_monotonic(gateway->daemon.clock),
					.workers = gateway->threads.workers};
}

/* All that the old process had at the first part, while it serves on. */
static int build(struct gateway *gateway, struct handover_import *import, const struct handover_memory *memory,
		 struct error *error)
{
	const struct handover_target target = target_of(gateway);
	int result = handover_read(import, memory, &target, error);
	if (result == 0)
		handover_take_over(import, &target);
	return result;
}

/* From the claim on it cannot fail. */
static int take(struct gateway *gateway, struct handover_import *import, struct moments *moments, struct error *error)
{
	const struct clock *clock = gateway->daemon.clock;
	const struct handover_target target = target_of(gateway);
	int result = takeover_await_offer(gateway->takeover.old, OFFER_MS, error);
	moments->offered = clock_monotonic(clock);
	if (result == 0)
		result = handover_check_moved(import, moments->offered, error);
	moments->checked = clock_monotonic(clock);
	if (result == 0 && !handover_claim(import->memory))
		result = error_set(error, -ETIMEDOUT, "take-over: too late: the old process serves on");
	if (result != 0) {
		handover_leave(import, &target);
		return result;
	}
	gateway->takeover.frozen = import->frozen;
	handover_follow(import, &target);
	moments->followed = clock_monotonic(clock);
	return 0;
}

void gateway_takeover_complete(struct gateway *gateway)
{
	gateway->daemon.leaving = false;
}

/* While it waits for the old one the control thread does not feed the watchdog. */
static int end_ms(const struct gateway *gateway)
{
	enum { PARTS = 4 }; /* two such waits, and as much again for what is before and after them */
	uint64_t most = gateway->daemon.notify.watchdog / PARTS / NS_PER_MS;
	return gateway->daemon.notify.watchdog != 0 && most < END_MS ? (int)most : END_MS;
}

/* That it told the service manager of this process, which would end it with the old one otherwise. */
static void wait_for_report(struct gateway *gateway)
{
	int old = gateway->takeover.old;
	rcu_offline();
	bool told = gateway->daemon.notify.fd < 0 || takeover_was_told(old, end_ms(gateway));
	rcu_online();
	gateway->daemon.unannounced_until = told ? 0 : clock_monotonic(gateway->daemon.clock) + UNANNOUNCED_NS;
	if (told)
		wait_for_end(old, end_ms(gateway));
	else
		log_warning("take-over: the old process ended before the service manager had this one: it may end this "
			    "one, too");
}

static void discard(struct handover_memory *memory)
{
	handover_memory_wipe(memory);
	handover_memory_close(memory);
}

static double ms(uint64_t from, uint64_t to)
{
	return (double)(to - from) / NS_PER_MS;
}

static void log_taken(const struct gateway_takeover *takeover, const struct handover_import *import,
		      const struct moments *moments)
{
	if (import->dropped != 0)
		log_info("take-over: %zu sessions ended: this configuration has not their clients, or with another "
			 "address or protocol",
			 import->dropped);
	log_info("take-over: %zu sessions go on here; packets waited for %.1f ms", takeover->sessions,
		 (double)takeover->wait / NS_PER_MS);
	log_debug("take-over: %zu moved and %zu ended since they were written; %.1f ms until all stood still and that "
		  "was written, %.1f ms to check it, %.1f ms to follow it, %.1f ms to attach",
		  import->moved, import->gone, ms(takeover->frozen, moments->offered),
		  ms(moments->offered, moments->checked), ms(moments->checked, moments->followed),
		  ms(moments->followed, moments->served));
}

/* The sessions are this process's: it serves. */
static int serve(struct gateway *gateway, struct handover_memory *memory, const struct handover_import *import,
		 struct moments *moments, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	/* Should anything fail from here on, the service manager's next process goes on with what is there: no BYE, and
	 * nothing is removed. Without one this end is for good. */
	gateway->daemon.leaving = daemon_keeps(&gateway->daemon);
	notify_adopt_watchdog(&gateway->daemon.notify, takeover->watchdog);
	int result = gateway_threads_attach(&gateway->threads, &gateway->daemon, error);
	if (result == 0)
		gateway_threads_thaw(&gateway->daemon);
	moments->served = clock_monotonic(gateway->daemon.clock);
	takeover->wait = moments->served - takeover->frozen;
	takeover->sessions = import->count - import->dropped - import->gone;
	discard(memory); /* packets do not wait for that, nor for the routes */
	if (result == 0)
		gateway_network_serve(&gateway->network, &gateway->registry);
	wait_for_report(gateway);
	leave_old(takeover);
	gateway_network_alone(&gateway->network);
	quota_take_over(&gateway->quota);
	if (result == 0)
		log_taken(takeover, import, moments);
	return result;
}

int gateway_takeover_claim(struct gateway *gateway, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	struct handover_memory memory;
	struct handover_import import = {0};
	struct moments moments;
	if (takeover->old < 0)
		return 0;
	if (!gateway_threads_wait_parked(&gateway->daemon, PARKED_NS))
		return error_set(error, -ETIMEDOUT, "take-over: the threads do not stand still");
	int result = takeover_receive(takeover->old, &memory, RECORDS_MS, error);
	if (result != 0)
		return result;
	result = build(gateway, &import, &memory, error);
	if (result == 0)
		result = take(gateway, &import, &moments, error);
	if (result != 0) {
		discard(&memory);
		(void)shutdown(takeover->old,
			       SHUT_RDWR); /* its data path goes on at once, not when this process ended */
	} else {
		result = serve(gateway, &memory, &import, &moments, error);
	}
	handover_discard(&import);
	return result;
}

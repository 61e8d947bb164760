// SPDX-License-Identifier: Apache-2.0
/* The old process. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/daemon/layout.h"
#include "core/daemon/metrics_server.h"
#include "core/gateway/reloader.h"
#include "core/gateway/state.h"
#include "core/gateway/takeover_export.h"
#include "core/handover/takeover.h"

#define REQUEST_NS (5 * NS_PER_S)  /* from the connection to the request */
#define READY_NS   (60 * NS_PER_S) /* from the answer until the new process has made everything */

static const struct control_socket_kind kind = {.name = "take-over socket",
						.elsewhere = "set ControlSocket",
						.left = "set ControlSocket",
						.mode = 0600,
						.type = SOCK_SEQPACKET};

static int watch(const struct gateway_takeover *takeover, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	return epoll_ctl(takeover->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int listen_at(struct gateway_takeover *takeover, const char *path, struct error *error)
{
	int given = takeover->given_listener;
	takeover->given_listener = -1;
	if (given >= 0)
		return control_listener_adopt(&takeover->listener, &kind, path, given, error);
	return control_listener_open_as(&takeover->listener, &kind, path, error);
}

int gateway_takeover_open(struct gateway *gateway, struct error *error)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	const char *control = gateway->config->common.control_socket;
	char path[sizeof((struct sockaddr_un){0}).sun_path];
	int length = snprintf(path, sizeof path, "%s" GATEWAY_TAKEOVER_SUFFIX, control);
	if (length < 0 || (size_t)length >= sizeof path) {
		log_warning("ControlSocket = %s: the path is too long for a take-over by another process", control);
		return 0;
	}
	int result = listen_at(takeover, path, error);
	if (result != 0)
		return result;
	takeover->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (takeover->epoll_fd < 0 || watch(takeover, takeover->listener.fd) != 0) {
		result = error_set(error, -errno, "take-over: epoll: %s", strerror(errno));
		gateway_takeover_close(gateway);
	}
	return result;
}

/* Not wiped: a slow process may still read it, until it finds that it must not have them, and wipes it. */
static void end_export(struct gateway_takeover *takeover)
{
	if (takeover->stage == TAKEOVER_EXPORTED)
		handover_export_end(&takeover->export, false);
	takeover->stage = TAKEOVER_CONNECTED;
}

static void drop(struct gateway_takeover *takeover)
{
	end_export(takeover);
	if (takeover->connection >= 0)
		close(takeover->connection);
	takeover->connection = -1;
	takeover->readings = 0;
}

/* Threads have ended, also those that rested. */
void gateway_takeover_close(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	drop(takeover);
	if (takeover->epoll_fd >= 0)
		close(takeover->epoll_fd);
	takeover->epoll_fd = -1;
	if (gateway->daemon.leaving)
		control_listener_leave(&takeover->listener);
	control_listener_close(&takeover->listener);
}

int gateway_takeover_give(const struct gateway *gateway, struct error *error)
{
	const struct privileges_user *user = &gateway->user;
	if (gateway->takeover.listener.fd < 0 || !privileges_become(user))
		return 0;
	return control_listener_give(&gateway->takeover.listener, user->uid, user->gid, error);
}

/* --- what the next process gets ----------------------------------------------------------------------------------- */

/* 0 or -ENOMEM: then there is no list. */
static int list_all(const struct gateway *gateway, struct descriptor_list *list)
{
	const struct descriptor_entry own[] = {{GATEWAY_TAKEOVER_LISTENER, gateway->takeover.listener.fd},
					       {GATEWAY_TAKEOVER_QUOTA, gateway->quota.file.fd}};
	int result = descriptors_list(&gateway->daemon.descriptors, list);
	if (result != 0)
		return result;
	for (size_t i = 0; result == 0 && i < ARRAY_SIZE(own); i++) {
		if (own[i].fd >= 0)
			result = descriptor_list_add(list, own[i].name, own[i].fd);
	}
	if (result != 0)
		descriptor_list_free(list);
	return result;
}

/* The records have no deadlines of blocks: the new process would end all sessions. */
static const char *why_not(const struct gateway *gateway)
{
	return gateway->running.cluster == NULL
		       ? NULL
		       : "not in a cluster: restart the gateway; who owns a client's block has it back then";
}

/* Whether the process that connected may have them. */
static int judge(struct gateway *gateway, struct error *error)
{
	const struct notify *notify = &gateway->daemon.notify;
	char *layout = layout_running_text(&gateway->daemon.params);
	if (layout == NULL) {
		channel_refuse(gateway->takeover.connection, "take-over: out of memory");
		return error_set(error, -ENOMEM, "take-over: out of memory");
	}
	const struct takeover_party self = {.layout = layout,
					    .device = gateway->takeover.device,
					    .inode = gateway->takeover.inode,
					    .manager = notify->fd >= 0 ? gateway->takeover.manager : 0,
					    .refusal = why_not(gateway)};
	int result = takeover_answer(gateway->takeover.connection, &self, error);
	free(layout);
	return result;
}

/* Without a service manager's store there is no layout yet among the descriptors. */
static int make_list(struct gateway *gateway, struct descriptor_list *list, struct error *error)
{
	struct descriptors *descriptors = &gateway->daemon.descriptors;
	char *layout = descriptors->layout_fd < 0 ? layout_text(&gateway->daemon.params) : NULL;
	int result = 0;
	if (descriptors->layout_fd < 0)
		result = layout != NULL ? descriptors_open_layout(descriptors, layout, error) : -ENOMEM;
	free(layout);
	if (result == 0)
		result = list_all(gateway, list);
	return result != -ENOMEM ? result : error_set(error, -ENOMEM, "take-over: out of memory");
}

static int answer(struct gateway *gateway, struct error *error)
{
	int connection = gateway->takeover.connection;
	struct descriptor_list list;
	int result = judge(gateway, error);
	if (result != 0)
		return result;
	result = make_list(gateway, &list, error);
	if (result != 0) {
		channel_refuse(connection, error->text);
		return result;
	}
	result = takeover_give(connection, &list, gateway->daemon.notify.watchdog, error);
	descriptor_list_free(&list);
	return result;
}

/* Nothing is closed, removed or said to clients: all of it is the other process's. With a failure status, so that the
 * service manager starts a process anew should that one have ended before this message. */
_Noreturn static void leave(struct gateway *gateway, pid_t next)
{
	struct notify *notify = &gateway->daemon.notify;
	metrics_leave(gateway->daemon.metrics); /* its figures stand still, and the next process has later ones */
	events_write(&gateway->events);		/* until the threads stood still: the other process has none of these */
	gateway_tell_suppressed(gateway, true);
	log_info("take-over: process %d has the sessions: ending", (int)next);
	if (notify->fd >= 0 && (notify_main_process(notify, next) != 0 || notify_barrier(notify) != 0))
		log_warning("take-over: the service manager may not know of process %d", (int)next);
	else if (notify->fd >= 0)
		takeover_tell(gateway->takeover.connection);
	metrics_stop(gateway->daemon.metrics);
	(void)log_flush(LOG_END_MS);
	_exit(EXIT_FAILURE);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void accept_next(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	int fd = accept4(takeover->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) { /* no descriptor is left: the listener stays readable, and would have the loop spin */
		if (errno == EMFILE || errno == ENFILE)
			takeover->paused = epoll_ctl(takeover->epoll_fd, EPOLL_CTL_DEL, takeover->listener.fd, NULL) ==
					   0;
		return;
	}
	if (takeover->connection >= 0) {
		char unread; /* would reset the socket at its end, and the reason were lost */
		channel_refuse(fd, "take-over: another process takes this gateway over at this moment");
		(void)recv(fd, &unread, sizeof unread, MSG_DONTWAIT);
		close(fd);
		return;
	}
	takeover->connection = fd;
	takeover->stage = TAKEOVER_CONNECTED;
	takeover->deadline = clock_monotonic(gateway->daemon.clock) + REQUEST_NS;
	if (watch(takeover, fd) != 0)
		drop(takeover);
}

static void leave_other(struct gateway *gateway, const struct error *error)
{
	enum gateway_takeover_stage stage = gateway->takeover.stage;
	log_warning("%s; this process serves on", error->text);
	end_export(&gateway->takeover); /* before handshakes go on: the registry holds still until then */
	if (stage == TAKEOVER_EXPORTED)
		gateway_threads_thaw(&gateway->daemon);
	if (stage != TAKEOVER_CONNECTED)
		gateway_network_alone(&gateway->network);
	drop(&gateway->takeover);
}

/* The first message. */
static void hear_request(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	struct error error = {0};
	int result = answer(gateway, &error);
	takeover->stage = result == 0 ? TAKEOVER_ANSWERED : TAKEOVER_CONNECTED;
	takeover->changes = gateway->registry.changes;
	takeover->deadline = clock_monotonic(gateway->daemon.clock) + READY_NS;
	if (result == 0)
		return;
	if (result != -EALREADY) {
		leave_other(gateway, &error);
		return;
	}
	log_info("%s; the configuration is read again", error.text);
	/* One that is under way may have begun with the file as it was before. */
	takeover->readings = reloader_reads(gateway->running.reloader) ? 2 : 1;
	gateway_control_reload(&gateway->daemon);
}

void gateway_takeover_reloaded(struct gateway *gateway, const struct error *failure)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	if (takeover->readings == 0 || --takeover->readings != 0)
		return;
	takeover_tell_reloaded(takeover->connection, failure);
	drop(takeover);
}

/* What was accepted here is answered here: the next process has the listeners, but not these connections. Before the
 * data path stands still; one that is refused then because of what was changed here may try again. */
static void answer_last(struct gateway *gateway)
{
	enum { LIMIT_MS = 200 /* of a client that says nothing */ };
	control_finish(gateway->daemon.control, LIMIT_MS);
	wireguard_socket_finish(gateway->wireguard_socket, LIMIT_MS);
}

/* The second one, or the other process is gone. */
static void hear_ready(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	const struct takeover_owner owner = gateway_takeover_owner(gateway);
	struct error error = {0};
	if (takeover_export(takeover->connection, &owner, &error) != 0) {
		leave_other(gateway, &error);
		return;
	}
	uint64_t now = clock_monotonic(gateway->daemon.clock), sessions = takeover->export.count;
	takeover->deadline = now + (TAKEOVER_BUILD_MS + sessions / TAKEOVER_BUILD_SESSIONS) * NS_PER_MS;
}

/* The third one, or the other process is gone. */
static void hear_built(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	const struct takeover_owner owner = gateway_takeover_owner(gateway);
	int claim_ms = takeover_claim_ms(takeover->export.count, gateway->daemon.notify.watchdog);
	struct error error = {0};
	struct ucred peer = {0};
	socklen_t size = sizeof peer;
	(void)getsockopt(takeover->connection, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	answer_last(gateway);
	if (takeover_hand_over(takeover->connection, &owner, &takeover->export.memory, claim_ms, &error) ==
	    TAKEOVER_GIVEN)
		leave(gateway, peer.pid);
	leave_other(gateway, &error);
}

/* Or the other process is gone. */
static void hear(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	if (takeover->readings != 0)
		drop(takeover);
	else if (takeover->stage == TAKEOVER_EXPORTED)
		hear_built(gateway);
	else if (takeover->stage == TAKEOVER_ANSWERED)
		hear_ready(gateway);
	else
		hear_request(gateway);
}

void gateway_takeover_every_second(struct gateway *gateway)
{
	struct gateway_takeover *takeover = &gateway->takeover;
	struct error error;
	if (takeover->paused)
		takeover->paused = watch(takeover, takeover->listener.fd) != 0;
	if (takeover->connection < 0 || takeover->readings != 0 ||
	    clock_monotonic(gateway->daemon.clock) < takeover->deadline)
		return;
	error_set(&error, -ETIMEDOUT, "take-over: the other process does not go on");
	leave_other(gateway, &error);
}

void gateway_takeover_ready(struct gateway *gateway)
{
	enum { MOST = 2 };
	struct gateway_takeover *takeover = &gateway->takeover;
	struct epoll_event events[MOST];
	int ready = epoll_wait(takeover->epoll_fd, events, MOST, 0);
	for (int i = 0; i < ready; i++) {
		if (events[i].data.fd == takeover->listener.fd)
			accept_next(gateway);
		else if (events[i].data.fd == takeover->connection)
			hear(gateway);
	}
}

// SPDX-License-Identifier: Apache-2.0
/* A gateway that can be killed or stalled at each step of a take-over. This file is linked into shardtund_faults alone,
 * by the linker's --wrap (Makefile): the calls that make up the steps say where they are before and after. Each place
 * is sent to the socket that SHARDTUN_FAULTS names, and the process goes on when one byte came back, which
 * tests/netns/tools/supervisor.py sends when it has done what it is to do there. Without the variable it is the
 * gateway.
 *
 *   place              of   then
 *   new-hello          new  its request is not sent yet
 *   old-request        old  it has the request
 *   old-descriptors    old  descriptors are not sent yet
 *   old-answered       old  they are sent
 *   new-descriptors    new  it has them
 *   new-made           new  all is made, threads are parked, READY is not sent
 *   new-ready          new  it is sent
 *   old-ready          old  it came
 *   old-exported       old  the first part of the records is written, and handshakes rest
 *   old-records        old  it is sent
 *   new-records        new  it came
 *   new-read           new  it is read
 *   new-built          new  all is made of it, BUILT is not sent
 *   old-built          old  that came
 *   old-frozen         old  its data path stands still
 *   old-written        old  the second part is written
 *   old-offered        old  and offered, but that is not said
 *   old-sent           old  and said
 *   new-offered        new  that came
 *   new-checked        new  the second part is read; it does not own the sessions
 *   new-claimed        new  it owns them, and does not serve yet
 *   new-serves         new  it serves
 *   old-given          old  it is about to tell the service manager of that
 *   old-announced      old  it has told it
 *   old-told           old  and the new one; it is about to end
 *   new-told           new  it was told that */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/gateway/network.h"
#include "core/gateway/threads.h"
#include "core/handover/channel.h"
#include "core/handover/export.h"
#include "core/handover/import.h"
#include "core/host/notify.h"

/* In the order of enum channel_kind. */
static const struct {
	const char *before_send, *sent, *received;
} places[] = {
	[CHANNEL_HELLO] = {"new-hello", NULL, "old-request"},
	[CHANNEL_DESCRIPTORS] = {"old-descriptors", "old-answered", "new-descriptors"},
	[CHANNEL_READY] = {"new-made", "new-ready", "old-ready"},
	[CHANNEL_RECORDS] = {NULL, "old-records", "new-records"},
	[CHANNEL_TOLD] = {NULL, "old-told", "new-told"},
	[CHANNEL_BUILT] = {"new-built", NULL, "old-built"},
	[CHANNEL_OFFERED] = {"old-offered", "old-sent", "new-offered"},
};

static int director = -1;

/* Before the program has threads, filters or a user. */
__attribute__((constructor)) static void reach(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("SHARDTUN_FAULTS");
	if (path == NULL)
		return;
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	director = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(director, (const struct sockaddr *)&address, sizeof address) != 0) {
		perror(path);
		exit(1);
	}
}

static void at(const char *place)
{
	char go_on;
	if (director < 0 || place == NULL)
		return;
	if (send(director, place, strlen(place), MSG_NOSIGNAL) > 0)
		(void)!recv(director, &go_on, 1, 0);
}

int __real_channel_send(int fd, const struct channel_message *message, struct error *error);
int __wrap_channel_send(int fd, const struct channel_message *message, struct error *error);
int __wrap_channel_send(int fd, const struct channel_message *message, struct error *error)
{
	bool known = (size_t)message->kind < ARRAY_SIZE(places);
	at(known ? places[message->kind].before_send : NULL);
	int result = __real_channel_send(fd, message, error);
	at(known && result == 0 ? places[message->kind].sent : NULL);
	return result;
}

int __real_channel_receive(int fd, enum channel_kind kind, struct channel_message *message, int limit_ms,
			   struct error *error);
int __wrap_channel_receive(int fd, enum channel_kind kind, struct channel_message *message, int limit_ms,
			   struct error *error);
int __wrap_channel_receive(int fd, enum channel_kind kind, struct channel_message *message, int limit_ms,
			   struct error *error)
{
	int result = __real_channel_receive(fd, kind, message, limit_ms, error);
	at(result == 0 && (size_t)kind < ARRAY_SIZE(places) ? places[kind].received : NULL);
	return result;
}

bool __real_gateway_threads_freeze(const struct gateway_threads *threads, const struct daemon *daemon, uint64_t limit);
bool __wrap_gateway_threads_freeze(const struct gateway_threads *threads, const struct daemon *daemon, uint64_t limit);
bool __wrap_gateway_threads_freeze(const struct gateway_threads *threads, const struct daemon *daemon, uint64_t limit)
{
	bool result = __real_gateway_threads_freeze(threads, daemon, limit);
	at(result ? "old-frozen" : NULL);
	return result;
}

int __real_handover_export_finish(struct handover_export *export, uint64_t now);
int __wrap_handover_export_finish(struct handover_export *export, uint64_t now);
int __wrap_handover_export_finish(struct handover_export *export, uint64_t now)
{
	int result = __real_handover_export_finish(export, now);
	at(result == 0 ? "old-exported" : NULL);
	return result;
}

int __real_handover_export_moved(struct handover_export *export, const struct handover_now *now);
int __wrap_handover_export_moved(struct handover_export *export, const struct handover_now *now);
int __wrap_handover_export_moved(struct handover_export *export, const struct handover_now *now)
{
	int result = __real_handover_export_moved(export, now);
	at(result == 0 ? "old-written" : NULL);
	return result;
}

int __real_handover_read(struct handover_import *import, const struct handover_memory *memory,
			 const struct handover_target *target, struct error *error);
int __wrap_handover_read(struct handover_import *import, const struct handover_memory *memory,
			 const struct handover_target *target, struct error *error);
int __wrap_handover_read(struct handover_import *import, const struct handover_memory *memory,
			 const struct handover_target *target, struct error *error)
{
	int result = __real_handover_read(import, memory, target, error);
	at(result == 0 ? "new-read" : NULL);
	return result;
}

int __real_handover_check_moved(struct handover_import *import, uint64_t now, struct error *error);
int __wrap_handover_check_moved(struct handover_import *import, uint64_t now, struct error *error);
int __wrap_handover_check_moved(struct handover_import *import, uint64_t now, struct error *error)
{
	int result = __real_handover_check_moved(import, now, error);
	at(result == 0 ? "new-checked" : NULL);
	return result;
}

void __real_handover_follow(struct handover_import *import, const struct handover_target *target);
void __wrap_handover_follow(struct handover_import *import, const struct handover_target *target);
void __wrap_handover_follow(struct handover_import *import, const struct handover_target *target)
{
	at("new-claimed");
	__real_handover_follow(import, target);
}

/* Of the new process: the old one thaws only what it did not give. */
void __real_gateway_network_serve(struct gateway_network *network, struct registry *registry);
void __wrap_gateway_network_serve(struct gateway_network *network, struct registry *registry);
void __wrap_gateway_network_serve(struct gateway_network *network, struct registry *registry)
{
	at("new-serves");
	__real_gateway_network_serve(network, registry);
}

int __real_notify_main_process(const struct notify *notify, pid_t process);
int __wrap_notify_main_process(const struct notify *notify, pid_t process);
int __wrap_notify_main_process(const struct notify *notify, pid_t process)
{
	at("old-given");
	int result = __real_notify_main_process(notify, process);
	at("old-announced");
	return result;
}

// SPDX-License-Identifier: Apache-2.0
/* What a running gateway and a running client have in common: device, sockets, ciphers, threads, the control socket,
 * signals, and the loop that the control thread sits in until the end. What the threads do is the caller's. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/control/control.h"
#include "core/daemon/metrics_server.h"
#include "core/host/notify.h"
#include "core/host/privileges.h"
#include "core/daemon/reconcile.h"
#include "core/daemon/threads.h"
#include "core/base/clock.h"
#include "crypto/aead.h"
#include "perf/export/status.h"
#include "perf/record/tsc.h"
#include "tun/tun.h"
#include "workers/udp.h"

struct tunnel;

/* Zero where there is no such thing. */
struct tunnel_figures {
	uint32_t sessions_active, sessions_max, pool_used, pool_size;
	struct report_forward forward;
};

struct tunnel_params {
	const char *role_name; /* "gateway" or "client" */
	const struct config_common *common;
	unsigned mtu; /* of the interface at the start */
	const struct ip_prefix *addresses;
	size_t address_count;
	const struct ip_address *listen_addresses; /* none: all */
	size_t listen_address_count;
	uint16_t listen_port;
	uint32_t mark;
	size_t sockets;				/* that share the port */
	unsigned tun_readers, tun_writers;	/* queues of the device */
	const struct control_command *commands; /* besides status and stages */
	size_t command_count;
	void *context; /* of these commands and callbacks, which run on the control thread */
	/* What status shows besides. On the control thread or the metrics thread, perhaps both at once: relaxed atomics
	 * and what never changes. */
	void (*refresh)(const struct tunnel *tunnel, struct tunnel_figures *figures);
	void (*every_second)(struct tunnel *tunnel);
	void (*reload)(struct tunnel *tunnel); /* SIGHUP */
};

/* A descriptor that the control loop watches besides its own. */
struct tunnel_watch {
	int fd;
	void (*ready)(void *context);
};

/* Of the interface now. */
struct tunnel_shown {
	char name[16];
	unsigned mtu;
	struct ip_prefix addresses[2];
	size_t address_count;
};

enum { TUNNEL_COMMANDS_MAX = 16 };

struct tunnel {
	struct tunnel_params params;
	const struct clock *clock;
	uint64_t started; /* monotonic ns */
	struct tsc_calibration tsc;
	struct aead_engine *aead; /* the control thread's: to tell and choose suites */
	struct tun_device device;
	struct udp_socket **sockets;
	struct threads threads;
	struct control *control;
	struct seccomp_filter *filters[SECCOMP_KINDS]; /* NULL: none, or not made yet */
	struct notify notify;
	/* What this end set up on the machine, and keeps so: whoever sets it up adds the parts. The loop runs it, tells
	 * of what it did, and status and metrics show it. */
	struct reconciler *reconciler;
	struct control_command commands[TUNNEL_COMMANDS_MAX];
	int signal_fd;
	int timer_fd; /* every second */
	bool device_open;
	bool finish;			/* set on the control thread: tunnel_loop() returns 0 */
	struct metrics_server *metrics; /* NULL: off */
	/* changed by the control thread, under the mutex since the metrics thread reads it */
	pthread_mutex_t shown_mutex;
	struct tunnel_shown shown;
	char trouble[RECONCILE_KIND_COUNT][128]; /* why a kind is not in force; "" */
	_Atomic uint32_t stage_sampling;	 /* as it is now; the metrics thread reads it */
};

/* Opens everything; on failure nothing is left behind. */
int tunnel_open(struct tunnel *tunnel, const struct tunnel_params *params, struct error *error);

/* Describes the tunnel to `use`; not called when there is no memory. Control thread and metrics thread, perhaps at
 * once; all threads are started. */
void tunnel_describe(struct tunnel *tunnel, void (*use)(void *context, const struct report_source *source),
		     void *context);

/* From now on the interface has this MTU and these addresses; those of family 0 are none. At most one of each family.
 */
void tunnel_show(struct tunnel *tunnel, unsigned mtu, const struct ip_prefix *const *addresses, size_t count);

/* From now on the interface is called so. */
void tunnel_rename(struct tunnel *tunnel, const char *name);

/* The outer addresses and ports in use, as text: ", " between them. */
enum { TUNNEL_BOUND_TEXT = UDP_ADDRESSES_MAX * ENDPOINT_TEXT_MAX };
const char *tunnel_bound(const struct tunnel *tunnel, char text[TUNNEL_BOUND_TEXT]);

/* Before the first thread is started: makes the filters of system calls and gives the threads theirs. */
int tunnel_prepare_filters(struct tunnel *tunnel, struct error *error);

/* When rights are dropped, or there are none to drop, and before any other thread: starts the one that writes the log.
 */
int tunnel_start_log(struct tunnel *tunnel, struct error *error);

/* Becomes that user and gives up what the control thread does not need: before the first thread is started, when all
 * is open. */
int tunnel_drop_privileges(struct tunnel *tunnel, const struct privileges_user *user, struct error *error);

/* When all threads run: filters the system calls of the control thread and of liburcu's, too. */
int tunnel_filter_calls(struct tunnel *tunnel, struct error *error);

/* Serves control requests and watches until SIGTERM, SIGINT or SIGQUIT (0), or until a thread gave up (-EIO, `error`).
 * Signals that came since process_hold_signals() count. The calling thread is registered for RCU, and offline while it
 * waits. */
int tunnel_loop(struct tunnel *tunnel, const struct tunnel_watch *watches, size_t count, void *context,
		struct error *error);

/* Ends the threads in the mirror order of their start. Also after a failed start. */
void tunnel_stop(struct tunnel *tunnel);

/* Closes what tunnel_open() opened; the threads ended, and what they used is freed. */
void tunnel_close(struct tunnel *tunnel);

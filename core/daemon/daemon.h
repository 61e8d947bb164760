// SPDX-License-Identifier: Apache-2.0
/* What a running gateway and a running client have in common: device, sockets, ciphers, threads, the control socket,
 * signals, and the loop that the control thread sits in until the end. What the threads do is the caller's. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/base/clock.h"
#include "core/control/control.h"
#include "core/daemon/descriptors.h"
#include "core/daemon/interface_drops.h"
#include "core/daemon/reconcile.h"
#include "core/daemon/stamps.h"
#include "core/daemon/steps.h"
#include "core/daemon/store.h"
#include "core/daemon/threads.h"
#include "core/host/notify.h"
#include "core/host/seccomp_filter.h"
#include "crypto/aead.h"
#include "perf/export/status.h"
#include "perf/record/tsc.h"

struct daemon;
struct metrics_server;

/* Zero where there is no such thing. */
struct daemon_figures {
	uint32_t sessions_active, sessions_wireguard, sessions_max, pool_used, pool_size;
	size_t peers_shardtun, peers_wireguard; /* by the protocol that they speak */
	uint32_t quotas, quotas_over;		/* peers that have a quota, and that have used it up */
	struct status_forward forward;
	uint64_t takeover_wait, takeover_sessions; /* as status_source has them */
	struct status_cluster cluster;		   /* its texts live as long as the daemon */
};

struct daemon_params {
	const char *role_name; /* "gateway" or "client" */
	const struct config_common *common;
	unsigned mtu; /* of the interface at the start */
	const struct ip_prefix *addresses;
	size_t address_count;
	const struct ip_address *listen_addresses; /* none: all */
	size_t listen_address_count;
	uint16_t listen_port;
	uint32_t mark;
	size_t sockets;				     /* that share the port */
	unsigned workers, handshakers;		     /* that these are for */
	const struct control_socket_kind *wireguard; /* there will be this control socket as well; NULL: none */
	/* Of a process that still runs, for this one to adopt: taken, and then the daemon is `leaving` until its caller
	 * says otherwise. What does not fit is an error. NULL: none. */
	struct descriptor_list *given;
	bool keeps; /* the service manager may keep the descriptors for the next process: core/daemon/store.h */
	unsigned tun_readers, tun_writers; /* queues of the device, as in struct tun_params */
	struct queue_steering tun_steering;
	bool tun_sparse; /* a second queue behind each that is read, for sparse flows: as in struct tun_params */
	uint32_t tun_destinations;		/* that share the queues evenly; 0: not: as in struct tun_params */
	const struct control_command *commands; /* besides status and stages */
	size_t command_count;
	void *context; /* of these commands and callbacks, which run on the control thread */
	/* What status shows besides. On the control thread or the metrics thread, perhaps both at once: relaxed atomics
	 * and what never changes. */
	void (*refresh)(const struct daemon *daemon, struct daemon_figures *figures);
	void (*every_second)(struct daemon *daemon);
	void (*reload)(struct daemon *daemon); /* SIGHUP */
};

/* A descriptor that the control loop watches besides its own. */
struct daemon_watch {
	int fd;
	void (*ready)(void *context);
};

/* Of the interface now. */
struct daemon_shown {
	char name[16];
	unsigned mtu;
	struct ip_prefix addresses[2];
	size_t address_count;
};

enum { DAEMON_COMMANDS_MAX = 24 };

struct daemon {
	struct daemon_params params;
	const struct clock *clock;
	uint64_t started; /* monotonic ns */
	struct tsc_calibration tsc;
	struct aead_engine *aead; /* the control thread's: to show and choose suites */
	struct descriptors descriptors;
	struct stamps stamps;
	struct threads threads;
	enum cpu_priority_group priority_group; /* of the session, as CpuPriority left it */
	struct control *control;
	struct seccomp_filter *filters[SECCOMP_KINDS]; /* NULL: none, or not made yet */
	struct notify notify;
	struct store store;
	bool adopted;	 /* the descriptors are those that another process left */
	bool refused;	 /* there were some, and they did not fit */
	bool leaving;	 /* ends so that the next process goes on with the descriptors: nothing outside is removed */
	bool taken_over; /* the same, but by a process that ran: no service manager handed them over */
	/* Until then (monotonic ns) SIGTERM means a restart: the service manager may take another process, that ended,
	 * for the service's main one, and then ends the others of the service. 0: it does not. */
	uint64_t unannounced_until;
	struct interface_drops interface_drops;
	/* Keeps what this end set up on the machine. Gateway and client add the parts; the loop runs it and logs what
	 * it did; status and metrics show it. */
	struct reconciler *reconciler;
	struct control_command commands[DAEMON_COMMANDS_MAX];
	struct steps steps;		/* of daemon_open() */
	bool finish;			/* set on the control thread: daemon_loop() returns 0 */
	struct metrics_server *metrics; /* NULL: off */
	/* changed by the control thread, under the mutex since the metrics thread reads it */
	pthread_mutex_t shown_mutex;
	struct daemon_shown shown;
	char trouble[RECONCILE_KIND_COUNT][128]; /* why a kind is not in force; "" */
	_Atomic uint32_t stage_sampling;	 /* as it is now; the metrics thread reads it */
};

/* Opens everything; on failure nothing is left behind. With `keeps` it adopts what the service manager kept of a
 * process before, all or nothing: what does not fit, or cannot be adopted, is given up with one line of log, and
 * everything is opened anew. */
int daemon_open(struct daemon *daemon, const struct daemon_params *params, struct error *error);

/* From now on the interface has this MTU and these addresses; those of family 0 are none. At most one of each family.
 */
void daemon_show(struct daemon *daemon, unsigned mtu, const struct ip_prefix *const *addresses, size_t count);

/* From now on one batch in `interval` is timed; 0: none, and no datagram is stamped. What was timed before stays in the
 * histograms. */
void daemon_sample_stages(struct daemon *daemon, uint32_t interval);

/* From now on the interface is called so. */
void daemon_rename(struct daemon *daemon, const char *name);

/* The outer addresses and ports in use, as text: ", " between them. */
enum { DAEMON_BOUND_TEXT = UDP_ADDRESSES_MAX * ENDPOINT_TEXT_MAX };
const char *daemon_bound(const struct daemon *daemon, char text[DAEMON_BOUND_TEXT]);

/* When rights are dropped, or there are none to drop, and before any other thread: starts the one that writes the log.
 */
int daemon_start_log(struct daemon *daemon, struct error *error);

/* When all threads run: starts the metrics server, if there is one. */
int daemon_start_metrics(struct daemon *daemon, struct error *error);

/* Serves control requests and watches until SIGTERM, SIGINT or SIGQUIT (0), SIGUSR2 where descriptors are kept, or
 * until a thread gave up (-EIO, `error`). Signals that came since process_hold_signals() count. The calling thread is
 * registered for RCU, and offline while it waits. */
int daemon_loop(struct daemon *daemon, const struct daemon_watch *watches, size_t count, void *context,
		struct error *error);

/* Ends the threads in the mirror order of their start. Also after a failed start. */
void daemon_stop(struct daemon *daemon);

/* Closes what daemon_open() opened; the threads ended, and what they used is freed. */
void daemon_close(struct daemon *daemon);

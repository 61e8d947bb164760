// SPDX-License-Identifier: Apache-2.0
/* What a running gateway and a running client have in common: device, socket, cipher, one worker with its thread, the
 * control socket, signals, and the loop that the control thread sits in until the end. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/app/control.h"
#include "core/base/clock.h"
#include "crypto/aead.h"
#include "perf/export/report.h"
#include "perf/record/tsc.h"
#include "tun/tun.h"
#include "workers/worker.h"

struct tunnel_params {
	const char *role_name; /* "gateway" or "client" */
	const struct config_common *common;
	const struct worker_role *role;
	void *role_state;
	unsigned mtu; /* of the interface at the start */
	const struct ip_prefix *addresses;
	size_t address_count;
	struct ip_address listen_address; /* family 0: all */
	uint16_t listen_port;
	uint32_t mark;
	uint32_t max_sessions;
};

/* A descriptor that the control loop watches besides its own. */
struct tunnel_watch {
	int fd;
	void (*ready)(void *context);
};

struct tunnel {
	struct tunnel_params params;
	const struct clock *clock;
	uint64_t started; /* monotonic ns */
	struct tsc_calibration tsc;
	struct aead_engine *aead;
	struct tun_device device;
	struct udp_socket *udp;
	struct worker *worker;
	struct control *control;
	int signal_fd;
	int exit_fd; /* the worker's thread ended by itself */
	pthread_t thread;
	bool device_open, thread_running;
	unsigned mtu;			     /* of the interface now */
	struct ip_prefix shown_addresses[2]; /* for status */
	size_t shown_address_count;
	uint32_t sessions_active, sessions_max, pool_used, pool_size; /* for status; filled by `refresh` */
	void (*refresh)(struct tunnel *tunnel);			      /* set before tunnel_start() */
};

/* Blocks the signals of all threads to come and opens everything; on failure nothing is left behind. */
int tunnel_open(struct tunnel *tunnel, const struct tunnel_params *params, struct error *error);

/* The outer address and port in use, as text. */
const char *tunnel_bound(const struct tunnel *tunnel, char text[ENDPOINT_TEXT_MAX]);

/* Starts the worker's thread. */
int tunnel_start(struct tunnel *tunnel, struct error *error);

/* Serves control requests and watches until SIGTERM or SIGINT (0), or until the worker gave up (-EIO, `error`). */
int tunnel_loop(struct tunnel *tunnel, const struct tunnel_watch *watches, size_t count, void *context,
		struct error *error);

/* Ends the worker (it says BYE) and closes everything, in mirror order. Also after a failed start. */
void tunnel_close(struct tunnel *tunnel);

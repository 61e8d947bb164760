// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/daemon.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/daemon/commands.h"
#include "core/daemon/describe.h"
#include "core/daemon/events.h"
#include "core/daemon/keeping.h"
#include "core/daemon/logger.h"
#include "core/daemon/metrics_server.h"
#include "core/daemon/rights.h"
#include "core/host/process.h"

enum {
	DAEMON_WATCHES_MAX = 16,
	REFUSED_MS = 2000, /* the longest wait for what a service manager gave up to be closed */
	REFUSED_PAUSE_MS = 10,
};

/* --- what is shown ------------------------------------------------------------------------------------------------ */

/* The reconciler put something back, or found that something is not in force. */
static void note_reconciled(void *context, const struct reconcile_news *news)
{
	struct daemon *daemon = context;
	char text[sizeof daemon->trouble[0]] = "";
	events_tell_kept(news);
	if (!news->in_force && news->why[0] != '\0')
		(void)snprintf(text, sizeof text, "%s", news->why);
	else if (!news->in_force)
		(void)snprintf(text, sizeof text, "%s: another program removed it %u times", news->first, news->times);
	pthread_mutex_lock(&daemon->shown_mutex);
	memcpy(daemon->trouble[news->kind], text, sizeof text);
	pthread_mutex_unlock(&daemon->shown_mutex);
}

void daemon_show(struct daemon *daemon, unsigned mtu, const struct ip_prefix *const *addresses, size_t count)
{
	pthread_mutex_lock(&daemon->shown_mutex);
	daemon->shown = (struct daemon_shown){.mtu = mtu};
	for (size_t i = 0; i < count; i++) {
		if (addresses[i]->address.family != 0)
			daemon->shown.addresses[daemon->shown.address_count++] = *addresses[i];
	}
	pthread_mutex_unlock(&daemon->shown_mutex);
}

void daemon_rename(struct daemon *daemon, const char *name)
{
	pthread_mutex_lock(&daemon->shown_mutex);
	(void)snprintf(daemon->descriptors.device.name, sizeof daemon->descriptors.device.name, "%s", name);
	pthread_mutex_unlock(&daemon->shown_mutex);
}

void daemon_sample_stages(struct daemon *daemon, uint32_t interval)
{
	for (size_t i = 0; i < daemon->threads.count; i++)
		stage_recorder_sample(&daemon->threads.list[i].params.loop->stages, interval);
	stamps_want(&daemon->stamps, SHARDTUN_PROFILE && interval != 0);
	atomic_store_explicit(&daemon->stage_sampling, interval, memory_order_relaxed);
}

const char *daemon_bound(const struct daemon *daemon, char text[DAEMON_BOUND_TEXT])
{
	char one[ENDPOINT_TEXT_MAX];
	char *at = text;
	for (size_t i = 0; descriptors_bound(&daemon->descriptors, i, one); i++)
		at += snprintf(at, sizeof one, "%s%s", i == 0 ? "" : ", ", one);
	return text;
}

static void show_configured(struct daemon *daemon)
{
	const struct daemon_params *params = &daemon->params;
	const struct ip_prefix *addresses[ARRAY_SIZE(daemon->shown.addresses)];
	size_t count = 0;
	for (size_t i = 0; i < params->address_count && count < ARRAY_SIZE(addresses); i++) {
		if (params->addresses[i].address.family == 4 || !daemon->descriptors.device.no_ipv6)
			addresses[count++] = &params->addresses[i];
	}
	daemon_show(daemon, params->mtu, addresses, count);
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static int open_signals(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return descriptors_open_signals(&daemon->descriptors, error);
}

static void close_signals(void *context)
{
	struct daemon *daemon = context;
	descriptors_close_signals(&daemon->descriptors);
}

static int open_timer(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return descriptors_open_timer(&daemon->descriptors, error);
}

static void close_timer(void *context)
{
	struct daemon *daemon = context;
	descriptors_close_timer(&daemon->descriptors);
}

static int open_reconciler(void *context, struct error *error)
{
	struct daemon *daemon = context;
	daemon->reconciler = reconciler_new(daemon->clock, note_reconciled, daemon, error);
	return daemon->reconciler != NULL ? 0 : -ENOMEM;
}

static void close_reconciler(void *context)
{
	struct daemon *daemon = context;
	reconciler_free(daemon->reconciler);
}

static int open_threads(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return threads_init(&daemon->threads, error);
}

static void close_threads(void *context)
{
	struct daemon *daemon = context;
	threads_deinit(&daemon->threads);
}

/* Before anything else is started, which inherits the group, and before the user changes. */
static int raise_group(void *context, struct error *error)
{
	struct daemon *daemon = context;
	(void)error;
	daemon->priority_group = cpu_priority_raise_group(&cpu_priority_kernel, daemon->params.common->cpu_priority);
	return 0;
}

static int open_aead(void *context, struct error *error)
{
	struct daemon *daemon = context;
	daemon->aead = aead_engine_new(daemon->params.common->crypto_backend, error);
	return daemon->aead != NULL ? 0 : -EIO;
}

static void close_aead(void *context)
{
	struct daemon *daemon = context;
	aead_engine_free(daemon->aead);
}

static int open_sockets(void *context, struct error *error)
{
	struct daemon *daemon = context;
	const struct descriptors_plan plan = daemon_plan(&daemon->params);
	return descriptors_open_sockets(&daemon->descriptors, &plan.udp, plan.listen_addresses,
					plan.listen_address_count, plan.sockets, error);
}

static void close_sockets(void *context)
{
	struct daemon *daemon = context;
	descriptors_close_sockets(&daemon->descriptors);
}

static int open_stamps(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return stamps_open(&daemon->stamps, daemon->descriptors.sockets, daemon->params.sockets, error);
}

static void close_stamps(void *context)
{
	struct daemon *daemon = context;
	stamps_close(&daemon->stamps);
}

static int open_control_socket(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return descriptors_open_control(&daemon->descriptors, daemon->params.common->control_socket, error);
}

static void close_control_socket(void *context)
{
	struct daemon *daemon = context;
	if (daemon->leaving)
		control_listener_leave(&daemon->descriptors.control);
	descriptors_close_control(&daemon->descriptors);
}

static int open_control(void *context, struct error *error)
{
	struct daemon *daemon = context;
	size_t count = 0;
	for (size_t i = 0; i < daemon_command_count && count < DAEMON_COMMANDS_MAX; i++)
		daemon->commands[count++] = daemon_commands[i];
	for (size_t i = 0; i < daemon->params.command_count && count < DAEMON_COMMANDS_MAX; i++)
		daemon->commands[count++] = daemon->params.commands[i];
	struct control_params control = {
		.listener = &daemon->descriptors.control,
		.commands = daemon->commands,
		.command_count = count,
		.context = daemon,
		.clock = daemon->clock,
	};
	daemon->control = control_new(&control, error);
	return daemon->control != NULL ? 0 : -EIO;
}

static void close_control(void *context)
{
	struct daemon *daemon = context;
	control_free(daemon->control);
}

static int open_metrics_socket(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return descriptors_open_metrics(&daemon->descriptors, &daemon->params.common->metrics_listen, error);
}

static void close_metrics_socket(void *context)
{
	struct daemon *daemon = context;
	if (daemon->leaving)
		metrics_listener_leave(&daemon->descriptors.metrics);
	descriptors_close_metrics(&daemon->descriptors);
}

static int open_metrics(void *context, struct error *error)
{
	struct daemon *daemon = context;
	const struct metrics_params metrics = {
		.listener = &daemon->descriptors.metrics, .describe = daemon_describe, .daemon = daemon};
	return metrics_open(&daemon->metrics, &metrics, error);
}

static void close_metrics(void *context)
{
	struct daemon *daemon = context;
	metrics_close(daemon->metrics);
}

static int open_device(void *context, struct error *error)
{
	struct daemon *daemon = context;
	struct descriptors_plan plan = daemon_plan(&daemon->params);
	plan.device.attach_later = daemon->leaving;
	return descriptors_open_device(&daemon->descriptors, &plan.device, error);
}

static void close_device(void *context)
{
	struct daemon *daemon = context;
	descriptors_close_device(&daemon->descriptors);
}

static int open_interface_drops(void *context, struct error *error)
{
	struct daemon *daemon = context;
	return interface_drops_open(&daemon->interface_drops, daemon->descriptors.device.ifindex, error);
}

static void close_interface_drops(void *context)
{
	struct daemon *daemon = context;
	interface_drops_close(&daemon->interface_drops);
}

static const struct step steps[] = {
	{"signals", open_signals, close_signals},
	{"timer", open_timer, close_timer},
	{"reconciler", open_reconciler, close_reconciler},
	{"threads", open_threads, close_threads},
	{"CPU priority", raise_group, NULL},
	{"ciphers", open_aead, close_aead},
	{"UDP sockets", open_sockets, close_sockets},
	{"stamps", open_stamps, close_stamps},
	{"control socket", open_control_socket, close_control_socket},
	{"control", open_control, close_control},
	{"metrics socket", open_metrics_socket, close_metrics_socket},
	{"metrics", open_metrics, close_metrics},
	{"interface", open_device, close_device},
	{"interface drops", open_interface_drops, close_interface_drops},
};

/* What the manager gave up may be closed a moment later. */
static int open_steps(struct daemon *daemon, struct error *error)
{
	const struct timespec pause = {.tv_nsec = REFUSED_PAUSE_MS * (long)NS_PER_MS};
	int result = steps_open(&daemon->steps, error);
	if (result != 0 && daemon->adopted && !daemon->leaving) {
		daemon_refuse(daemon, &daemon->descriptors.given, error);
		result = steps_open(&daemon->steps, error);
	}
	for (int left = REFUSED_MS; daemon->refused && (result == -EADDRINUSE || result == -EBUSY) && left > 0;
	     left -= REFUSED_PAUSE_MS) {
		(void)nanosleep(&pause, NULL);
		result = steps_open(&daemon->steps, error);
	}
	return result;
}

int daemon_open(struct daemon *daemon, const struct daemon_params *params, struct error *error)
{
	*daemon = (struct daemon){.params = *params,
				  .clock = &clock_system,
				  .descriptors = {.wireguard = {.fd = -1}, .layout_fd = -1},
				  .steps = STEPS(steps, daemon),
				  .shown_mutex = PTHREAD_MUTEX_INITIALIZER,
				  .started = clock_monotonic(&clock_system)};
	events_use_journal();
	daemon->tsc = tsc_calibrate();
	notify_open(&daemon->notify);
	int result = daemon_take(daemon, error);
	if (result == 0)
		result = open_steps(daemon, error);
	if (result != 0) {
		descriptors_take_back(&daemon->descriptors);
		notify_close(&daemon->notify);
		return result;
	}
	show_configured(daemon);
	daemon_sample_stages(daemon, params->common->stage_sampling);
	return 0;
}

int daemon_start_log(struct daemon *daemon, struct error *error)
{
	return logger_start(daemon->filters[SECCOMP_LOG], error);
}

int daemon_start_metrics(struct daemon *daemon, struct error *error)
{
	return metrics_start(daemon->metrics, daemon->filters[SECCOMP_METRICS], error);
}

void daemon_stop(struct daemon *daemon)
{
	metrics_drain(daemon->metrics);
	/* Threads that end may wait for a grace period of RCU: this one must not hold it up. */
	rcu_offline();
	threads_stop(&daemon->threads);
	rcu_online();
	metrics_stop(daemon->metrics);
}

void daemon_close(struct daemon *daemon)
{
	daemon_end_keeping(daemon);
	steps_close(&daemon->steps);
	descriptors_close_layout(&daemon->descriptors);
	notify_close(&daemon->notify);
	daemon_free_filters(daemon);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

/* True: the signal ends the daemon. */
static bool take_signal(struct daemon *daemon)
{
	struct signalfd_siginfo info;
	if (read(daemon->descriptors.signal_fd, &info, sizeof info) != sizeof info)
		return false;
	bool unannounced = clock_monotonic(daemon->clock) < daemon->unannounced_until;
	bool restart = info.ssi_signo == SIGUSR2 || (info.ssi_signo == SIGTERM && unannounced);
	if (restart && daemon_leave(daemon, (int)info.ssi_signo))
		return true;
	if (info.ssi_signo == SIGHUP && daemon->params.reload != NULL)
		daemon->params.reload(daemon);
	else if (info.ssi_signo == SIGHUP)
		log_warning("SIGHUP: the configuration is read at start only; restart to apply changes");
	else if (info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2)
		log_warning("%s: means nothing here; ignored", strsignal((int)info.ssi_signo));
	if (info.ssi_signo != SIGINT && info.ssi_signo != SIGTERM && info.ssi_signo != SIGQUIT)
		return false;
	notify_stopping(&daemon->notify);
	log_info("%s: ending", strsignal((int)info.ssi_signo));
	return true;
}

static void second_passed(struct daemon *daemon)
{
	uint64_t count;
	if (read(daemon->descriptors.timer_fd, &count, sizeof count) != sizeof count)
		return;
	uint64_t now = clock_monotonic(daemon->clock);
	threads_measure(&daemon->threads, now);
	stamps_second(&daemon->stamps);
	if (notify_watchdog_due(&daemon->notify, now) && threads_alive(&daemon->threads))
		notify_watchdog(&daemon->notify, now);
	if (daemon->params.every_second != NULL)
		daemon->params.every_second(daemon);
}

static int thread_ended(const struct daemon *daemon, struct error *error)
{
	int code = threads_failure(&daemon->threads);
	if (code == -EBADFD)
		return error_set(error, code, "interface %s: another program removed it; start again",
				 daemon->descriptors.device.name);
	return error_set(error, code, "interface %s: read: %s", daemon->descriptors.device.name, strerror(-code));
}

int daemon_loop(struct daemon *daemon, const struct daemon_watch *watches, size_t count, void *context,
		struct error *error)
{
	enum { OWN = 6 };
	struct pollfd polled[OWN + DAEMON_WATCHES_MAX] = {
		{.fd = daemon->descriptors.signal_fd, .events = POLLIN},
		{.fd = daemon->threads.exit_fd, .events = POLLIN},
		{.fd = control_fd(daemon->control), .events = POLLIN},
		{.fd = daemon->descriptors.timer_fd, .events = POLLIN},
		{.fd = reconciler_fd(daemon->reconciler), .events = POLLIN},
		{.fd = daemon->stamps.timer_fd, .events = POLLIN},
	};
	for (size_t i = 0; i < count; i++)
		polled[OWN + i] = (struct pollfd){.fd = watches[i].fd, .events = POLLIN};

	notify_ready(&daemon->notify);
	for (;;) {
		rcu_offline();
		int ready = poll(polled, OWN + count, -1);
		rcu_online();
		if (ready < 0 && errno != EINTR)
			return error_set(error, -errno, "control loop: poll: %s", strerror(errno));
		if (polled[0].revents != 0 && take_signal(daemon))
			return 0;
		if (polled[1].revents != 0)
			return thread_ended(daemon, error);
		if (polled[2].revents != 0)
			control_poll(daemon->control);
		if (polled[3].revents != 0)
			second_passed(daemon);
		if (polled[4].revents != 0)
			reconciler_run(daemon->reconciler);
		if (polled[5].revents != 0)
			stamps_end(&daemon->stamps);
		for (size_t i = 0; i < count; i++) {
			if (polled[OWN + i].revents != 0)
				watches[i].ready(context);
		}
		if (daemon->finish)
			return 0;
	}
}

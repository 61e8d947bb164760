// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/daemon.h"

#include <linux/sock_diag.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/daemon/events.h"
#include "core/daemon/logger.h"
#include "core/host/process.h"
#include "core/base/log.h"
#include "core/base/rcu.h"

enum { TUNNEL_WATCHES_MAX = 16 };

/* --- control commands
 * ------------------------------------------------------------------------------------------------- */

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

/* Of all sockets; -1: the kernel does not tell. */
static int64_t queue_overflows(const struct tunnel *tunnel)
{
	int64_t sum = 0;
	for (size_t i = 0; i < tunnel->params.sockets; i++) {
		const struct udp_socket *member;
		for (size_t m = 0; (member = udp_member(tunnel->sockets[i], m)) != NULL; m++) {
			int64_t lost = overflows(member->fd);
			if (lost < 0)
				return -1;
			sum += lost;
		}
	}
	return sum;
}

/* Trains are sent until a device refuses one, which each socket finds out for itself. */
static bool sends_trains(const struct tunnel *tunnel)
{
	bool all = true;
	for (size_t i = 0; i < tunnel->params.sockets; i++)
		all &= tunnel->sockets[i]->gso;
	return all;
}

/* Address `i` in use; false after the last. */
static bool bound_address(const struct tunnel *tunnel, size_t i, char text[ENDPOINT_TEXT_MAX])
{
	const struct udp_socket *member = udp_member(tunnel->sockets[0], i);
	if (member == NULL)
		return false;
	struct sockaddr_in6 bound;
	udp_address(member, &bound);
	sockaddr_format(&bound, text);
	return true;
}

const char *tunnel_bound(const struct tunnel *tunnel, char text[TUNNEL_BOUND_TEXT])
{
	char one[ENDPOINT_TEXT_MAX];
	char *at = text;
	for (size_t i = 0; bound_address(tunnel, i, one); i++)
		at += snprintf(at, sizeof one, "%s%s", i == 0 ? "" : ", ", one);
	return text;
}

static void read_shown(struct tunnel *tunnel, struct tunnel_shown *shown)
{
	pthread_mutex_lock(&tunnel->shown_mutex);
	*shown = tunnel->shown;
	memcpy(shown->name, tunnel->device.name, sizeof shown->name);
	pthread_mutex_unlock(&tunnel->shown_mutex);
}

/* Something was put back, or is found not to be in force. */
static void keeper_tells(void *context, const struct reconcile_news *news)
{
	struct tunnel *tunnel = context;
	char text[sizeof tunnel->trouble[0]] = "";
	events_tell_kept(news);
	if (!news->in_force && news->why[0] != '\0')
		(void)snprintf(text, sizeof text, "%s", news->why);
	else if (!news->in_force)
		(void)snprintf(text, sizeof text, "%s: another program removed it %u times", news->first, news->times);
	pthread_mutex_lock(&tunnel->shown_mutex);
	memcpy(tunnel->trouble[news->kind], text, sizeof text);
	pthread_mutex_unlock(&tunnel->shown_mutex);
}

/* Returns how many kinds this end keeps. */
static size_t describe_kept(struct tunnel *tunnel, struct report_kept kept[RECONCILE_KIND_COUNT])
{
	size_t count = 0;
	for (int kind = 0; kind < RECONCILE_KIND_COUNT; kind++) {
		struct reconcile_state state = reconciler_state(tunnel->reconciler, (enum reconcile_kind)kind);
		if (!state.wanted && state.restored == 0)
			continue;
		struct report_kept *one = &kept[count++];
		*one = (struct report_kept){.label = reconcile_label((enum reconcile_kind)kind),
					    .wanted = state.wanted,
					    .in_force = state.in_force,
					    .restored = state.restored};
		pthread_mutex_lock(&tunnel->shown_mutex);
		(void)snprintf(one->trouble, sizeof one->trouble, "%s", state.in_force ? "" : tunnel->trouble[kind]);
		pthread_mutex_unlock(&tunnel->shown_mutex);
	}
	return count;
}

void tunnel_show(struct tunnel *tunnel, unsigned mtu, const struct ip_prefix *const *addresses, size_t count)
{
	pthread_mutex_lock(&tunnel->shown_mutex);
	tunnel->shown = (struct tunnel_shown){.mtu = mtu};
	for (size_t i = 0; i < count; i++) {
		if (addresses[i]->address.family != 0)
			tunnel->shown.addresses[tunnel->shown.address_count++] = *addresses[i];
	}
	pthread_mutex_unlock(&tunnel->shown_mutex);
}

void tunnel_rename(struct tunnel *tunnel, const char *name)
{
	pthread_mutex_lock(&tunnel->shown_mutex);
	(void)snprintf(tunnel->device.name, sizeof tunnel->device.name, "%s", name);
	pthread_mutex_unlock(&tunnel->shown_mutex);
}

/* What the source points to lives on this stack. */
void tunnel_describe(struct tunnel *tunnel, void (*use)(void *context, const struct report_source *source),
		     void *context)
{
	struct tunnel_shown shown;
	char address_text[ARRAY_SIZE(shown.addresses)][IP_TEXT_MAX];
	char listen_text[UDP_ADDRESSES_MAX][ENDPOINT_TEXT_MAX];
	const char *addresses[ARRAY_SIZE(shown.addresses)], *listens[UDP_ADDRESSES_MAX];
	read_shown(tunnel, &shown);
	for (size_t i = 0; i < shown.address_count; i++)
		addresses[i] = ip_prefix_format(&shown.addresses[i], address_text[i]);
	size_t listen_count = 0;
	for (; bound_address(tunnel, listen_count, listen_text[listen_count]); listen_count++)
		listens[listen_count] = listen_text[listen_count];
	int fd = udp_member(tunnel->sockets[0], 0)->fd;

	struct report_suite suites[AEAD_SUITE_LAST];
	size_t suite_count = 0;
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		if (aead_engine_suite(tunnel->aead, suite) != NULL)
			suites[suite_count++] = (struct report_suite){aead_suite_name(suite),
								      aead_engine_describe(tunnel->aead, suite)};
	}
	const struct tun_offloads *tun = &tunnel->device.offloads;
	const struct report_offload offloads[] = {
		{"tun_checksum", tun->checksum},
		{"tun_tso", tun->tso},
		{"tun_uso", tun->uso},
		{"udp_gso", sends_trains(tunnel)},
		{"udp_gro", tunnel->sockets[0]->gro},
	};
	struct report_thread *threads = calloc(tunnel->threads.count + 1, sizeof *threads);
	if (threads == NULL)
		return;
	for (size_t i = 0; i < tunnel->threads.count; i++) {
		const struct thread *thread = &tunnel->threads.list[i];
		threads[i] = (struct report_thread){
			.name = thread->params.name,
			.cpu = thread->params.cpu,
			.load = atomic_load_explicit(&thread->load, memory_order_relaxed),
			.cpu_time = atomic_load_explicit(&thread->cpu_time, memory_order_relaxed),
			.allocated = atomic_load_explicit(&thread->allocated, memory_order_relaxed),
			.stats = thread->params.stats,
			.stages = thread->params.stages};
	}
	struct report_kept kept[RECONCILE_KIND_COUNT];
	size_t kept_count = describe_kept(tunnel, kept);
	struct tunnel_figures figures = {0};
	tunnel->params.refresh(tunnel, &figures);

	const struct report_source source = {
		.role = tunnel->params.role_name,
		.uptime = clock_monotonic(tunnel->clock) - tunnel->started,
		.interface = shown.name,
		.mtu = shown.mtu,
		.addresses = addresses,
		.address_count = shown.address_count,
		.listen = listens,
		.listen_count = listen_count,
		.threads = threads,
		.thread_count = tunnel->threads.count,
		.offloads = offloads,
		.offload_count = ARRAY_SIZE(offloads),
		.suites = suites,
		.suite_count = suite_count,
		.kept = kept,
		.kept_count = kept_count,
		.forward = figures.forward,
		.sessions = {.active = figures.sessions_active, .max = figures.sessions_max},
		.pool = {.used = figures.pool_used, .size = figures.pool_size},
		.udp = {.receive_buffer = socket_buffer(fd, SO_RCVBUF),
			.send_buffer = socket_buffer(fd, SO_SNDBUF),
			.wanted_buffer = tunnel->params.common->udp_buffer,
			.queue_overflows = queue_overflows(tunnel)},
		.log_dropped = log_dropped(),
		.tsc = tunnel->tsc,
		.stage_sampling = atomic_load_explicit(&tunnel->stage_sampling, memory_order_relaxed),
	};
	use(context, &source);
	free(threads);
}

struct report_request {
	json_t *(*make)(const struct report_source *source);
	json_t *result;
};

static void make_report(void *context, const struct report_source *source)
{
	struct report_request *request = context;
	request->result = request->make(source);
}

static json_t *report(struct tunnel *tunnel, json_t *(*make)(const struct report_source *source))
{
	struct report_request request = {.make = make};
	tunnel_describe(tunnel, make_report, &request);
	return request.result;
}

static json_t *no_memory_unless(json_t *result, struct error *error)
{
	if (result == NULL)
		error_set(error, -ENOMEM, "out of memory");
	return result;
}

static json_t *handle_status(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)arguments, (void)count;
	return no_memory_unless(report(context, report_status), error);
}

/* What was timed before stays in the histograms. */
static int sample_stages(struct tunnel *tunnel, const char *text, struct error *error)
{
	char *end;
	unsigned long interval = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || interval > STAGE_SAMPLING_MAX)
		return error_set(error, -EINVAL, "%.32s: not a number from 0 to %d", text, STAGE_SAMPLING_MAX);
	for (size_t i = 0; i < tunnel->threads.count; i++) {
		if (tunnel->threads.list[i].params.stages != NULL)
			stage_recorder_sample(tunnel->threads.list[i].params.stages, (uint32_t)interval);
	}
	atomic_store_explicit(&tunnel->stage_sampling, (uint32_t)interval, memory_order_relaxed);
	return 0;
}

static json_t *handle_stages(void *context, char *const *arguments, size_t count, struct error *error)
{
	bool raw = count == 1 && strcmp(arguments[0], "raw") == 0;
	bool sampling = count == 2 && strcmp(arguments[0], "sampling") == 0;
	if (sampling && sample_stages(context, arguments[1], error) != 0)
		return NULL;
	if (count != 0 && !raw && !sampling) {
		error_set(error, -EINVAL, "%.64s: unexpected here", arguments[count - 1]);
		return NULL;
	}
	return no_memory_unless(report(context, raw ? report_stages_raw : report_stages), error);
}

static const struct control_command commands[] = {
	{"status", "what runs here, counters and drop reasons", handle_status},
	{"stages",
	 "time in each stage of the data path: [raw], with the histograms' buckets; [sampling N]: time 1 in N",
	 handle_stages},
};

/* --- opening
 * ----------------------------------------------------------------------------------------------------------- */

static int open_signals(struct tunnel *tunnel, struct error *error)
{
	sigset_t set;
	process_signals(&set);
	tunnel->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (tunnel->signal_fd < 0)
		return error_set(error, -errno, "signals: %s", strerror(errno));
	return 0;
}

static int open_timer(struct tunnel *tunnel, struct error *error)
{
	static const struct itimerspec second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	tunnel->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (tunnel->timer_fd < 0 || timerfd_settime(tunnel->timer_fd, 0, &second, NULL) != 0)
		return error_set(error, -errno, "timer: %s", strerror(errno));
	return 0;
}

static int open_device(struct tunnel *tunnel, struct error *error)
{
	const struct tunnel_params *params = &tunnel->params;
	uint32_t off = params->common->disabled_offloads;
	struct tun_params device = {
		.name = params->common->interface,
		.mtu = params->mtu,
		.offloads = {.checksum = !(off & CONFIG_OFFLOAD_TUN_CHECKSUM),
			     .tso = !(off & CONFIG_OFFLOAD_TUN_TSO),
			     .uso = !(off & CONFIG_OFFLOAD_TUN_USO)},
		.addresses = params->addresses,
		.address_count = params->address_count,
		.readers = params->tun_readers,
		.writers = params->tun_writers,
	};
	int result = tun_device_open(&tunnel->device, &device, error);
	tunnel->device_open = result == 0;
	return result;
}

static int open_socket(struct tunnel *tunnel, struct error *error)
{
	const struct tunnel_params *params = &tunnel->params;
	uint32_t off = params->common->disabled_offloads;
	struct udp_params udp = {
		.port = params->listen_port,
		.mark = params->mark,
		.buffer = params->common->udp_buffer,
		.gso = !(off & CONFIG_OFFLOAD_UDP_GSO),
		.gro = !(off & CONFIG_OFFLOAD_UDP_GRO),
	};
	tunnel->sockets = calloc(params->sockets, sizeof(struct udp_socket *));
	if (tunnel->sockets == NULL)
		return error_set(error, -ENOMEM, "sockets: out of memory");
	return udp_open_groups(&udp, params->listen_addresses, params->listen_address_count, params->sockets,
			       tunnel->sockets, error);
}

static int open_control(struct tunnel *tunnel, struct error *error)
{
	size_t count = ARRAY_SIZE(commands);
	memcpy(tunnel->commands, commands, sizeof commands);
	for (size_t i = 0; i < tunnel->params.command_count && count < TUNNEL_COMMANDS_MAX; i++)
		tunnel->commands[count++] = tunnel->params.commands[i];
	struct control_params control = {
		.path = tunnel->params.common->control_socket,
		.commands = tunnel->commands,
		.command_count = count,
		.context = tunnel,
		.clock = tunnel->clock,
	};
	tunnel->control = control_new(&control, error);
	return tunnel->control != NULL ? 0 : -EIO;
}

/* --- privileges ------------------------------------------------------------------------------------------------------
 */

int tunnel_prepare_filters(struct tunnel *tunnel, struct error *error)
{
	bool wanted = SECCOMP_AVAILABLE && tunnel->params.common->seccomp;
	for (int kind = 0; wanted && kind < SECCOMP_KINDS; kind++) {
		tunnel->filters[kind] = seccomp_filter_new((enum seccomp_kind)kind, error);
		if (tunnel->filters[kind] == NULL)
			return -EIO;
	}
	tunnel->threads.filter = tunnel->filters[SECCOMP_DATA];
	return 0;
}

int tunnel_drop_privileges(struct tunnel *tunnel, const struct privileges_user *user, struct error *error)
{
	int result = 0;
	if (privileges_become(user))
		result = control_give(tunnel->control, user->uid, user->gid, error);
	if (result == 0 && privileges_become(user))
		result = metrics_give(tunnel->metrics, user->uid, user->gid, error);
	if (result == 0)
		result = privileges_drop(user, error);
	if (result == 0)
		control_check_removable(tunnel->control);
	return result;
}

int tunnel_start_log(struct tunnel *tunnel, struct error *error)
{
	return logger_start(tunnel->filters[SECCOMP_LOG], error);
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

int tunnel_filter_calls(struct tunnel *tunnel, struct error *error)
{
	if (tunnel->filters[SECCOMP_CONTROL] == NULL)
		return 0;
	struct load load = {.filter = tunnel->filters[SECCOMP_DATA]};
	rcu_run_on_thread(load_filter, &load);
	if (load.result == 0)
		load.result = seccomp_filter_load(tunnel->filters[SECCOMP_CONTROL]);
	return load.result == 0 ? 0 : error_set(error, load.result, "seccomp: %s", strerror(-load.result));
}

static void show_configured(struct tunnel *tunnel)
{
	const struct tunnel_params *params = &tunnel->params;
	const struct ip_prefix *addresses[ARRAY_SIZE(tunnel->shown.addresses)];
	size_t count = 0;
	for (size_t i = 0; i < params->address_count && count < ARRAY_SIZE(addresses); i++) {
		if (params->addresses[i].address.family == 4 || !tunnel->device.no_ipv6)
			addresses[count++] = &params->addresses[i];
	}
	tunnel_show(tunnel, params->mtu, addresses, count);
}

int tunnel_open(struct tunnel *tunnel, const struct tunnel_params *params, struct error *error)
{
	*tunnel = (struct tunnel){.params = *params,
				  .clock = &clock_system,
				  .signal_fd = -1,
				  .timer_fd = -1,
				  .threads.exit_fd = -1,
				  .shown_mutex = PTHREAD_MUTEX_INITIALIZER,
				  .started = clock_monotonic(&clock_system)};
	events_use_journal();
	tunnel->tsc = tsc_calibrate();
	atomic_store_explicit(&tunnel->stage_sampling, params->common->stage_sampling, memory_order_relaxed);
	notify_open(&tunnel->notify);
	int result = open_signals(tunnel, error);
	if (result == 0)
		result = open_timer(tunnel, error);
	if (result == 0) {
		tunnel->reconciler = reconciler_new(tunnel->clock, keeper_tells, tunnel, error);
		result = tunnel->reconciler != NULL ? 0 : -ENOMEM;
	}
	if (result == 0)
		result = threads_init(&tunnel->threads, error);
	if (result == 0) {
		tunnel->aead = aead_engine_new(params->common->crypto_backend, error);
		result = tunnel->aead != NULL ? 0 : -EIO;
	}
	if (result == 0)
		result = open_socket(tunnel, error);
	if (result == 0)
		result = open_control(tunnel, error);
	if (result == 0)
		result = metrics_open(&tunnel->metrics, tunnel, &params->common->metrics_listen, error);
	if (result == 0)
		result = open_device(tunnel, error);
	if (result == 0)
		show_configured(tunnel);
	else
		tunnel_close(tunnel);
	return result;
}

void tunnel_stop(struct tunnel *tunnel)
{
	metrics_drain(tunnel->metrics);
	/* They may wait for us to be quiet. */
	rcu_offline();
	threads_stop(&tunnel->threads);
	rcu_online();
	metrics_stop(tunnel->metrics);
}

void tunnel_close(struct tunnel *tunnel)
{
	if (tunnel->device_open)
		tun_device_close(&tunnel->device);
	metrics_close(tunnel->metrics);
	control_free(tunnel->control);
	for (size_t i = tunnel->params.sockets; tunnel->sockets != NULL && i-- > 0;)
		udp_close(tunnel->sockets[i]);
	free(tunnel->sockets);
	aead_engine_free(tunnel->aead);
	threads_deinit(&tunnel->threads);
	reconciler_free(tunnel->reconciler);
	if (tunnel->timer_fd >= 0)
		close(tunnel->timer_fd);
	if (tunnel->signal_fd >= 0)
		close(tunnel->signal_fd);
	for (size_t i = 0; i < SECCOMP_KINDS; i++)
		seccomp_filter_free(tunnel->filters[i]);
	notify_close(&tunnel->notify);
	*tunnel = (struct tunnel){.signal_fd = -1, .timer_fd = -1, .threads.exit_fd = -1, .notify.fd = -1};
}

/* --- running
 * ----------------------------------------------------------------------------------------------------------- */

/* Whether a signal asks for the end. */
static bool take_signal(struct tunnel *tunnel)
{
	struct signalfd_siginfo info;
	if (read(tunnel->signal_fd, &info, sizeof info) != sizeof info)
		return false;
	if (info.ssi_signo == SIGHUP && tunnel->params.reload != NULL)
		tunnel->params.reload(tunnel);
	else if (info.ssi_signo == SIGHUP)
		log_warning("SIGHUP: the configuration is read at start only; restart to apply changes");
	else if (info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2)
		log_warning("%s: means nothing here; ignored", strsignal((int)info.ssi_signo));
	if (info.ssi_signo != SIGINT && info.ssi_signo != SIGTERM && info.ssi_signo != SIGQUIT)
		return false;
	notify_stopping(&tunnel->notify);
	log_info("%s: ending", strsignal((int)info.ssi_signo));
	return true;
}

static void second_passed(struct tunnel *tunnel)
{
	uint64_t count;
	if (read(tunnel->timer_fd, &count, sizeof count) != sizeof count)
		return;
	uint64_t now = clock_monotonic(tunnel->clock);
	threads_measure(&tunnel->threads, now);
	if (notify_watchdog_due(&tunnel->notify, now) && threads_alive(&tunnel->threads))
		notify_watchdog(&tunnel->notify, now);
	if (tunnel->params.every_second != NULL)
		tunnel->params.every_second(tunnel);
}

static int thread_ended(const struct tunnel *tunnel, struct error *error)
{
	int code = threads_failure(&tunnel->threads);
	if (code == -EBADFD)
		return error_set(error, code, "interface %s: it was removed by somebody else; start again",
				 tunnel->device.name);
	return error_set(error, code, "interface %s: read: %s", tunnel->device.name, strerror(-code));
}

int tunnel_loop(struct tunnel *tunnel, const struct tunnel_watch *watches, size_t count, void *context,
		struct error *error)
{
	enum { OWN = 5 };
	struct pollfd polled[OWN + TUNNEL_WATCHES_MAX] = {
		{.fd = tunnel->signal_fd, .events = POLLIN},
		{.fd = tunnel->threads.exit_fd, .events = POLLIN},
		{.fd = control_fd(tunnel->control), .events = POLLIN},
		{.fd = tunnel->timer_fd, .events = POLLIN},
		{.fd = reconciler_fd(tunnel->reconciler), .events = POLLIN},
	};
	for (size_t i = 0; i < count; i++)
		polled[OWN + i] = (struct pollfd){.fd = watches[i].fd, .events = POLLIN};

	notify_ready(&tunnel->notify);
	for (;;) {
		rcu_offline();
		int ready = poll(polled, OWN + count, -1);
		rcu_online();
		if (ready < 0 && errno != EINTR)
			return error_set(error, -errno, "control loop: poll: %s", strerror(errno));
		if (polled[0].revents != 0 && take_signal(tunnel))
			return 0;
		if (polled[1].revents != 0)
			return thread_ended(tunnel, error);
		if (polled[2].revents != 0)
			control_poll(tunnel->control);
		if (polled[3].revents != 0)
			second_passed(tunnel);
		if (polled[4].revents != 0)
			reconciler_run(tunnel->reconciler);
		for (size_t i = 0; i < count; i++) {
			if (polled[OWN + i].revents != 0)
				watches[i].ready(context);
		}
		if (tunnel->finish)
			return 0;
	}
}

// SPDX-License-Identifier: Apache-2.0
#include "core/app/tunnel.h"

#include <linux/sock_diag.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"

enum { TUNNEL_WATCHES_MAX = 8 };

/* --- control commands
 * ------------------------------------------------------------------------------------------------- */

static uint64_t socket_buffer(int fd, int name)
{
	int value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? (uint64_t)value : 0;
}

static int64_t queue_overflows(int fd)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t length = sizeof info;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) != 0 || length <= SK_MEMINFO_DROPS * sizeof info[0])
		return -1;
	return info[SK_MEMINFO_DROPS];
}

const char *tunnel_bound(const struct tunnel *tunnel, char text[ENDPOINT_TEXT_MAX])
{
	struct sockaddr_in6 bound;
	udp_address(tunnel->udp, &bound);
	return sockaddr_format(&bound, text);
}

/* Fills the source and hands it to one of the reports; what it points to lives on this stack. */
static json_t *report(struct tunnel *tunnel, json_t *(*make)(const struct report_source *source))
{
	char address_text[ARRAY_SIZE(tunnel->shown_addresses)][IP_TEXT_MAX], listen[ENDPOINT_TEXT_MAX];
	const char *addresses[ARRAY_SIZE(tunnel->shown_addresses)], *listens[1] = {listen};
	for (size_t i = 0; i < tunnel->shown_address_count; i++)
		addresses[i] = ip_prefix_format(&tunnel->shown_addresses[i], address_text[i]);
	tunnel_bound(tunnel, listen);

	struct report_suite suites[AEAD_SUITE_LAST];
	size_t suite_count = 0;
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		if (aead_engine_suite(tunnel->aead, suite) != NULL)
			suites[suite_count++] = (struct report_suite){aead_suite_name(suite),
								      aead_engine_describe(tunnel->aead, suite)};
	}
	const struct tun_offloads *tun = &tunnel->device.offloads;
	const struct report_offload offloads[] = {
		{"tun_checksum", tun->checksum}, {"tun_tso", tun->tso},		{"tun_uso", tun->uso},
		{"udp_gso", tunnel->udp->gso},	 {"udp_gro", tunnel->udp->gro},
	};
	const struct report_thread thread = {
		.name = "worker 0", .cpu = -1, .stats = &tunnel->worker->stats, .stages = &tunnel->worker->stages};
	tunnel->refresh(tunnel);

	const struct report_source source = {
		.role = tunnel->params.role_name,
		.uptime = clock_monotonic(tunnel->clock) - tunnel->started,
		.interface = tunnel->device.name,
		.mtu = tunnel->mtu,
		.addresses = addresses,
		.address_count = tunnel->shown_address_count,
		.listen = listens,
		.listen_count = 1,
		.threads = &thread,
		.thread_count = 1,
		.offloads = offloads,
		.offload_count = ARRAY_SIZE(offloads),
		.suites = suites,
		.suite_count = suite_count,
		.sessions = {.active = tunnel->sessions_active, .max = tunnel->sessions_max},
		.pool = {.used = tunnel->pool_used, .size = tunnel->pool_size},
		.udp = {.receive_buffer = socket_buffer(tunnel->udp->fd, SO_RCVBUF),
			.send_buffer = socket_buffer(tunnel->udp->fd, SO_SNDBUF),
			.wanted_buffer = tunnel->params.common->udp_buffer,
			.queue_overflows = queue_overflows(tunnel->udp->fd)},
		.tsc = tunnel->tsc,
		.stage_sampling = tunnel->params.common->stage_sampling,
	};
	return make(&source);
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

static json_t *handle_stages(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)arguments, (void)count;
	return no_memory_unless(report(context, report_stages), error);
}

static const struct control_command commands[] = {
	{"status", "what runs here, counters and drop reasons", handle_status},
	{"stages", "time in each stage of the data path", handle_stages},
};

/* --- opening
 * ----------------------------------------------------------------------------------------------------------- */

/* Before any thread exists: all of them inherit the mask. */
static int open_signals(struct tunnel *tunnel, struct error *error)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* fails for a bad first argument only */
	(void)signal(SIGPIPE, SIG_IGN);
	tunnel->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	tunnel->exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (tunnel->signal_fd < 0 || tunnel->exit_fd < 0)
		return error_set(error, -errno, "signals: %s", strerror(errno));
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
		.readers = 1,
	};
	int result = tun_device_open(&tunnel->device, &device, error);
	tunnel->device_open = result == 0;
	tunnel->mtu = params->mtu;
	return result;
}

static int open_socket(struct tunnel *tunnel, struct error *error)
{
	const struct tunnel_params *params = &tunnel->params;
	uint32_t off = params->common->disabled_offloads;
	struct udp_params udp = {
		.address = params->listen_address,
		.port = params->listen_port,
		.mark = params->mark,
		.buffer = params->common->udp_buffer,
		.gso = !(off & CONFIG_OFFLOAD_UDP_GSO),
		.gro = !(off & CONFIG_OFFLOAD_UDP_GRO),
	};
	tunnel->udp = udp_open(&udp, error);
	return tunnel->udp != NULL ? 0 : -EIO;
}

static int open_worker(struct tunnel *tunnel, struct error *error)
{
	struct worker_params worker = {
		.udp = tunnel->udp,
		.tun = &tunnel->device.queues[0],
		.aead = tunnel->aead,
		.clock = tunnel->clock,
		.role = tunnel->params.role,
		.role_state = tunnel->params.role_state,
		.max_sessions = tunnel->params.max_sessions,
		.stage_sampling = tunnel->params.common->stage_sampling,
	};
	tunnel->worker = worker_new(&worker, error);
	return tunnel->worker != NULL ? 0 : -ENOMEM;
}

static int open_control(struct tunnel *tunnel, struct error *error)
{
	struct control_params control = {
		.path = tunnel->params.common->control_socket,
		.commands = commands,
		.command_count = ARRAY_SIZE(commands),
		.context = tunnel,
		.clock = tunnel->clock,
	};
	tunnel->control = control_new(&control, error);
	return tunnel->control != NULL ? 0 : -EIO;
}

int tunnel_open(struct tunnel *tunnel, const struct tunnel_params *params, struct error *error)
{
	*tunnel = (struct tunnel){.params = *params,
				  .clock = &clock_system,
				  .signal_fd = -1,
				  .exit_fd = -1,
				  .started = clock_monotonic(&clock_system)};
	tunnel->tsc = tsc_calibrate();
	for (size_t i = 0; i < params->address_count && i < ARRAY_SIZE(tunnel->shown_addresses); i++)
		tunnel->shown_addresses[tunnel->shown_address_count++] = params->addresses[i];

	int result = open_signals(tunnel, error);
	if (result == 0) {
		tunnel->aead = aead_engine_new(params->common->crypto_backend, error);
		result = tunnel->aead != NULL ? 0 : -EIO;
	}
	if (result == 0)
		result = open_socket(tunnel, error);
	if (result == 0)
		result = open_control(tunnel, error);
	if (result == 0)
		result = open_device(tunnel, error);
	if (result == 0)
		result = open_worker(tunnel, error);
	if (result != 0)
		tunnel_close(tunnel);
	return result;
}

static void *thread_main(void *argument)
{
	struct tunnel *tunnel = argument;
	worker_run(tunnel->worker);
	uint64_t one = 1;
	ssize_t written = write(tunnel->exit_fd, &one, sizeof one);
	(void)written;
	return NULL;
}

int tunnel_start(struct tunnel *tunnel, struct error *error)
{
	int failure = pthread_create(&tunnel->thread, NULL, thread_main, tunnel);
	if (failure != 0)
		return error_set(error, -failure, "worker thread: %s", strerror(failure));
	tunnel->thread_running = true;
	return 0;
}

void tunnel_close(struct tunnel *tunnel)
{
	if (tunnel->thread_running) {
		worker_stop(tunnel->worker);
		pthread_join(tunnel->thread, NULL);
		tunnel->thread_running = false;
	}
	worker_free(tunnel->worker);
	if (tunnel->device_open)
		tun_device_close(&tunnel->device);
	control_free(tunnel->control);
	udp_close(tunnel->udp);
	aead_engine_free(tunnel->aead);
	if (tunnel->exit_fd >= 0)
		close(tunnel->exit_fd);
	if (tunnel->signal_fd >= 0)
		close(tunnel->signal_fd);
	*tunnel = (struct tunnel){.signal_fd = -1, .exit_fd = -1};
}

/* --- running
 * ----------------------------------------------------------------------------------------------------------- */

/* Whether a signal asks for the end. */
static bool take_signal(struct tunnel *tunnel)
{
	struct signalfd_siginfo info;
	if (read(tunnel->signal_fd, &info, sizeof info) != sizeof info)
		return false;
	if (info.ssi_signo == SIGHUP) {
		log_warning("SIGHUP: the configuration is read at start only; restart to apply changes");
		return false;
	}
	log_info("%s: ending", strsignal((int)info.ssi_signo));
	return true;
}

static int worker_ended(const struct tunnel *tunnel, struct error *error)
{
	int code = atomic_load_explicit(&tunnel->worker->tun_error, memory_order_relaxed);
	if (code == -EBADFD)
		return error_set(error, code, "interface %s: it was removed by somebody else; start again",
				 tunnel->device.name);
	return error_set(error, code, "interface %s: read: %s", tunnel->device.name, strerror(-code));
}

int tunnel_loop(struct tunnel *tunnel, const struct tunnel_watch *watches, size_t count, void *context,
		struct error *error)
{
	struct pollfd polled[3 + TUNNEL_WATCHES_MAX] = {
		{.fd = tunnel->signal_fd, .events = POLLIN},
		{.fd = tunnel->exit_fd, .events = POLLIN},
		{.fd = control_fd(tunnel->control), .events = POLLIN},
	};
	for (size_t i = 0; i < count; i++)
		polled[3 + i] = (struct pollfd){.fd = watches[i].fd, .events = POLLIN};

	for (;;) {
		if (poll(polled, 3 + count, -1) < 0 && errno != EINTR)
			return error_set(error, -errno, "control loop: poll: %s", strerror(errno));
		if (polled[0].revents != 0 && take_signal(tunnel))
			return 0;
		if (polled[1].revents != 0)
			return worker_ended(tunnel, error);
		if (polled[2].revents != 0)
			control_poll(tunnel->control);
		for (size_t i = 0; i < count; i++) {
			if (polled[3 + i].revents != 0)
				watches[i].ready(context);
		}
	}
}

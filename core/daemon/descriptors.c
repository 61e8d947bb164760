// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/descriptors.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/cpu.h"
#include "core/daemon/layout.h"
#include "core/host/process.h"

/* --- another process's -------------------------------------------------------------------------------------------- */

void descriptors_give(struct descriptors *descriptors, struct descriptor_list *list)
{
	descriptors->given = *list;
	*list = (struct descriptor_list){.count = 0};
}

void descriptors_take_back(struct descriptors *descriptors)
{
	descriptor_list_close(&descriptors->given);
}

static int take(struct descriptors *descriptors, const char *format, ...) PRINTF_LIKE(2, 3);

static int take(struct descriptors *descriptors, const char *format, ...)
{
	char name[DESCRIPTOR_NAME_MAX];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(name, sizeof name, format, args);
	va_end(args);
	return descriptor_list_take(&descriptors->given, name);
}

static int list_sockets(const struct descriptors *descriptors, struct descriptor_list *list)
{
	char name[DESCRIPTOR_NAME_MAX];
	int result = 0;
	for (size_t i = 0; i < descriptors->socket_count; i++) {
		const struct udp_socket *member;
		for (size_t a = 0; result == 0 && (member = udp_member(descriptors->sockets[i], a)) != NULL; a++) {
			(void)snprintf(name, sizeof name, "udp.%zu.%zu", a, i);
			result = descriptor_list_add(list, name, member->fd);
		}
	}
	return result;
}

static int list_queues(const struct tun_device *device, struct descriptor_list *list)
{
	char name[DESCRIPTOR_NAME_MAX];
	int result = 0;
	for (unsigned i = 0; result == 0 && i < device->readers + device->writers + device->sparse; i++) {
		(void)snprintf(name, sizeof name, "tun.%u", i);
		result = descriptor_list_add(list, name, device->queues[i].fd);
	}
	return result;
}

int descriptors_list(const struct descriptors *descriptors, struct descriptor_list *list)
{
	const struct {
		const char *name;
		int fd;
	} single[] = {{"control", descriptors->control.fd},
		      {"metrics", descriptors->metrics.fd},
		      {"wireguard", descriptors->wireguard.fd},
		      {"layout", descriptors->layout_fd}};
	*list = (struct descriptor_list){.count = 0};
	int result = list_sockets(descriptors, list);
	if (result == 0)
		result = list_queues(&descriptors->device, list);
	for (size_t i = 0; result == 0 && i < ARRAY_SIZE(single); i++) {
		if (single[i].fd >= 0)
			result = descriptor_list_add(list, single[i].name, single[i].fd);
	}
	if (result != 0)
		descriptor_list_free(list);
	return result;
}

int descriptors_open_layout(struct descriptors *descriptors, const char *text, struct error *error)
{
	descriptors->layout_fd = take(descriptors, "layout");
	if (descriptors->layout_fd < 0)
		descriptors->layout_fd = layout_write(text, error);
	return descriptors->layout_fd >= 0 ? 0 : descriptors->layout_fd;
}

void descriptors_close_layout(struct descriptors *descriptors)
{
	if (descriptors->layout_fd >= 0)
		close(descriptors->layout_fd);
	descriptors->layout_fd = -1;
}

/* --- opening or adopting ------------------------------------------------------------------------------------------ */

int descriptors_open_signals(struct descriptors *descriptors, struct error *error)
{
	sigset_t set;
	process_signals(&set);
	descriptors->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return descriptors->signal_fd >= 0 ? 0 : error_set(error, -errno, "signals: %s", strerror(errno));
}

void descriptors_close_signals(struct descriptors *descriptors)
{
	close(descriptors->signal_fd);
	descriptors->signal_fd = -1;
}

int descriptors_open_timer(struct descriptors *descriptors, struct error *error)
{
	static const struct itimerspec second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return error_set(error, -errno, "timer: %s", strerror(errno));
	(void)timerfd_settime(fd, 0, &second, NULL); /* cannot fail with these arguments */
	descriptors->timer_fd = fd;
	return 0;
}

void descriptors_close_timer(struct descriptors *descriptors)
{
	close(descriptors->timer_fd);
	descriptors->timer_fd = -1;
}

static int adopt_sockets(struct descriptors *descriptors, const struct udp_params *params,
			 const struct ip_address *addresses, size_t address_count, size_t count,
			 struct udp_socket **sockets, struct error *error)
{
	size_t groups = address_count != 0 ? address_count : 1;
	int *fds = calloc(groups * count, sizeof *fds);
	if (fds == NULL)
		return error_set(error, -ENOMEM, "sockets: out of memory");
	for (size_t i = 0; i < groups * count; i++)
		fds[i] = take(descriptors, "udp.%zu.%zu", i / count, i % count);
	int result = udp_adopt_groups(params, addresses, address_count, count, fds, sockets, error);
	free(fds);
	return result;
}

int descriptors_open_sockets(struct descriptors *descriptors, const struct udp_params *params,
			     const struct ip_address *addresses, size_t address_count, size_t count,
			     struct error *error)
{
	struct udp_socket **sockets = calloc(count, sizeof(struct udp_socket *));
	if (sockets == NULL)
		return error_set(error, -ENOMEM, "sockets: out of memory");
	int result = descriptors->given.count != 0
			     ? adopt_sockets(descriptors, params, addresses, address_count, count, sockets, error)
			     : udp_open_groups(params, addresses, address_count, count, sockets, error);
	if (result != 0) {
		free(sockets);
		return result;
	}
	descriptors->sockets = sockets;
	descriptors->socket_count = count;
	return 0;
}

void descriptors_close_sockets(struct descriptors *descriptors)
{
	while (descriptors->socket_count > 0)
		udp_close(descriptors->sockets[--descriptors->socket_count]);
	free(descriptors->sockets);
	descriptors->sockets = NULL;
}

int descriptors_open_control(struct descriptors *descriptors, const char *path, struct error *error)
{
	if (descriptors->given.count != 0)
		return control_listener_adopt(&descriptors->control, &control_socket_kind, path,
					      take(descriptors, "control"), error);
	return control_listener_open(&descriptors->control, path, error);
}

void descriptors_close_control(struct descriptors *descriptors)
{
	control_listener_close(&descriptors->control);
}

int descriptors_open_metrics(struct descriptors *descriptors, const struct config_listener *config, struct error *error)
{
	if (descriptors->given.count != 0 && (config->path != NULL || config->port != 0))
		return metrics_listener_adopt(&descriptors->metrics, config, take(descriptors, "metrics"), error);
	return metrics_listener_open(&descriptors->metrics, config, error);
}

void descriptors_close_metrics(struct descriptors *descriptors)
{
	metrics_listener_close(&descriptors->metrics);
}

const char *descriptors_wireguard_path(const char *interface, char path[DESCRIPTORS_PATH_MAX])
{
	(void)snprintf(path, DESCRIPTORS_PATH_MAX, "/var/run/wireguard/%s.sock", interface);
	return path;
}

int descriptors_open_wireguard(struct descriptors *descriptors, const struct control_socket_kind *kind,
			       const char *interface, struct error *error)
{
	char path[DESCRIPTORS_PATH_MAX];
	descriptors_wireguard_path(interface, path);
	if (descriptors->given.count != 0)
		return control_listener_adopt(&descriptors->wireguard, kind, path, take(descriptors, "wireguard"),
					      error);
	return control_listener_open_as(&descriptors->wireguard, kind, path, error);
}

void descriptors_close_wireguard(struct descriptors *descriptors)
{
	control_listener_close(&descriptors->wireguard);
}

static int adopt_device(struct descriptors *descriptors, const struct tun_params *params, struct error *error)
{
	struct tun_params adopting = *params;
	int queues[CPU_TUN_QUEUES_MAX], fd;
	while (adopting.adopted_count < CPU_TUN_QUEUES_MAX &&
	       (fd = take(descriptors, "tun.%u", adopting.adopted_count)) >= 0)
		queues[adopting.adopted_count++] = fd;
	adopting.adopted = queues;
	return tun_device_open(&descriptors->device, &adopting, error);
}

int descriptors_open_device(struct descriptors *descriptors, const struct tun_params *params, struct error *error)
{
	return descriptors->given.count != 0 ? adopt_device(descriptors, params, error)
					     : tun_device_open(&descriptors->device, params, error);
}

void descriptors_close_device(struct descriptors *descriptors)
{
	tun_device_close(&descriptors->device);
}

bool descriptors_bound(const struct descriptors *descriptors, size_t i, char text[ENDPOINT_TEXT_MAX])
{
	const struct udp_socket *member = udp_member(descriptors->sockets[0], i);
	if (member == NULL)
		return false;
	struct sockaddr_in6 bound;
	udp_address(member, &bound);
	sockaddr_format(&bound, text);
	return true;
}

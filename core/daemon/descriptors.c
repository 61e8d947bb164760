// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/descriptors.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/host/process.h"

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

int descriptors_open_sockets(struct descriptors *descriptors, const struct udp_params *params,
			     const struct ip_address *addresses, size_t address_count, size_t count,
			     struct error *error)
{
	struct udp_socket **sockets = calloc(count, sizeof(struct udp_socket *));
	if (sockets == NULL)
		return error_set(error, -ENOMEM, "sockets: out of memory");
	int result = udp_open_groups(params, addresses, address_count, count, sockets, error);
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
	return control_listener_open(&descriptors->control, path, error);
}

void descriptors_close_control(struct descriptors *descriptors)
{
	control_listener_close(&descriptors->control);
}

int descriptors_open_metrics(struct descriptors *descriptors, const struct config_listener *config, struct error *error)
{
	return metrics_listener_open(&descriptors->metrics, config, error);
}

void descriptors_close_metrics(struct descriptors *descriptors)
{
	metrics_listener_close(&descriptors->metrics);
}

int descriptors_open_wireguard(struct descriptors *descriptors, const struct control_socket_kind *kind,
			       const char *interface, struct error *error)
{
	char path[sizeof descriptors->wireguard.address.sun_path];
	(void)snprintf(path, sizeof path, "/var/run/wireguard/%s.sock", interface);
	return control_listener_open_as(&descriptors->wireguard, kind, path, error);
}

void descriptors_close_wireguard(struct descriptors *descriptors)
{
	control_listener_close(&descriptors->wireguard);
}

int descriptors_open_device(struct descriptors *descriptors, const struct tun_params *params, struct error *error)
{
	return tun_device_open(&descriptors->device, params, error);
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

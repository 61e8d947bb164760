// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_link.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"

/* IPv4 is v4-mapped, as everywhere. */
static int socket_address(const struct config_endpoint *endpoint, struct sockaddr_in6 *out, struct error *error)
{
	struct ip_address address;
	if (!ip_address_parse(endpoint->host, &address))
		return error_set(error, -EINVAL, "ClusterLink = %s: no address", endpoint->host);
	*out = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};
	if (address.family == 6) {
		memcpy(&out->sin6_addr, address.bytes, sizeof out->sin6_addr);
		return 0;
	}
	out->sin6_addr.s6_addr[10] = out->sin6_addr.s6_addr[11] = 0xff;
	memcpy(&out->sin6_addr.s6_addr[12], address.bytes, 4);
	return 0;
}

static int open_socket(struct cluster_link *link, struct error *error)
{
	struct sockaddr_in6 own;
	char text[ENDPOINT_TEXT_MAX];
	int both = 0, result = socket_address(link->params.address, &own, error);
	if (result != 0)
		return result;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "ClusterLink: socket: %s", strerror(errno));
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both) != 0 ||
	    bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) {
		result = error_set(error, -errno, "ClusterLink = %s: %s", sockaddr_format(&own, text), strerror(errno));
		close(fd);
		return result;
	}
	link->forwarder.fd = fd;
	return 0;
}

int cluster_link_open(struct cluster_link *link, const struct cluster_link_params *params, struct error *error)
{
	*link = (struct cluster_link){.params = *params, .forwarder = {.fd = -1, .clock = params->clock}};
	if (params->address->port == 0)
		return 0;
	link->key = secret_new(sizeof *link->key);
	link->guard = calloc(1, sizeof *link->guard);
	int result = link->key != NULL && link->guard != NULL ? 0
							      : error_set(error, -ENOMEM, "ClusterLink: out of memory");
	if (result == 0)
		result = open_socket(link, error);
	if (result != 0) {
		cluster_link_close(link);
		return result;
	}
	forward_key_init(link->key, params->private_key);
	link->forwarder.key = link->key;
	return 0;
}

void cluster_link_close(struct cluster_link *link)
{
	forwarder_deinit(&link->forwarder);
	if (link->guard != NULL && link->forwarder.fd >= 0)
		close(link->forwarder.fd);
	free(link->guard);
	secret_free(link->key);
	*link = (struct cluster_link){.forwarder = {.fd = -1}};
}

void cluster_link_poll(struct cluster_link *link)
{
	uint8_t datagram[FORWARD_MAX + 1]; /* a longer one is one byte too long */
	struct forwarded forwarded;
	for (unsigned i = 0; i < CLUSTER_LINK_BATCH; i++) {
		ssize_t length = recv(link->forwarder.fd, datagram, sizeof datagram, MSG_DONTWAIT);
		if (length < 0)
			break;
		enum forward_verdict verdict = forward_read(link->key, link->guard, clock_wall(link->params.clock),
							    clock_monotonic(link->params.clock), datagram,
							    (size_t)length, &forwarded);
		if (verdict == FORWARD_LATE && cluster_link_count(link, FORWARD_LATE) == 0)
			log_warning("cluster: another gateway's clock, or this one's, is wrong by more than %llu s: "
				    "what it forwards is not taken",
				    (unsigned long long)(FORWARD_LIFE_NS / NS_PER_S));
		atomic_fetch_add_explicit(&link->verdicts[verdict], 1, memory_order_relaxed);
		if (verdict == FORWARD_TAKEN)
			link->params.take(link->params.context, &forwarded);
	}
}
